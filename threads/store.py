"""The database of threads: one connection, one worker thread, every write in a short transaction."""

from __future__ import annotations

import asyncio
import fcntl
import queue
import sqlite3
import threading
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, cast

from sqlalchemy import create_engine
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.pool import StaticPool

from ..configs.home import open_private, touch_private
from ..errors import TakenOver, UserError
from .tables import FENCED, SCHEMA_VERSION, metadata

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sqlalchemy import Connection, Executable

T = TypeVar("T")

BUSY_TIMEOUT_MS = 10_000
MOST_PER_COMMIT = 64
TAKEN_OVER = "this thread was taken over by a newer run"
DATABASE_NAME = "ml-intern.db"


def fence_name(table: str, thread_id: str, operation: str) -> str:
    """Name of the trigger below, as SQL."""
    return f'temp."fence_{table}_{operation}_{thread_id}"'


def fence_sql(table: str, thread_id: str, run_no: int, operation: str = "INSERT") -> str:
    """A trigger of this connection alone that refuses writes once a newer run owns the thread."""
    key = "id" if table == "threads" else "thread_id"
    return (
        f"CREATE TRIGGER {fence_name(table, thread_id, operation)} BEFORE {operation} ON main.{table} "
        f"WHEN NEW.{key} = '{thread_id}' AND "
        f"(SELECT run_no FROM main.threads WHERE id = '{thread_id}') > {int(run_no)} "
        f"BEGIN SELECT RAISE(ABORT, '{TAKEN_OVER}'); END"
    )


class Store:
    """Runs database work in its own thread, in the order it was given, several jobs to a commit."""

    def __init__(self, path: Path) -> None:
        """Open or create the database at `path`, mode 0600.

        Raises:
            UserError: The file is no database, is from a newer release, or cannot be written.
        """
        self.path = path
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._full_sync = True
        try:
            touch_private(path)
            # Several processes that make or first open one database at once would lock each other out.
            with open_private(path.with_name("opening.lock"), "a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                self._connection = _connect(path)
        except (DatabaseError, sqlite3.Error, OSError) as error:
            raise database_error(error, path) from error
        self._worker = threading.Thread(target=self._work, name="ml-intern-store", daemon=True)
        self._worker.start()

    def submit(
        self,
        work: Callable[[Connection], T],
        *,
        durable: bool = False,
        done: Callable[[], None] | None = None,
    ) -> Future[T]:
        """Queue a write transaction; `durable` puts it on disk (fsync) before it counts as done.

        `done` is called in the worker thread right after the commit, in commit order.
        """
        job = _Job(work, durable, done)
        self._jobs.put(job)
        return cast("Future[T]", job.future)

    def execute(
        self,
        statement: Executable,
        row: dict[str, Any] | None = None,
        *,
        durable: bool = False,
        done: Callable[[], None] | None = None,
    ) -> Future[int]:
        """Queue one statement; the future holds the number of rows it changed."""
        return self.submit(
            lambda connection: connection.execute(statement, row).rowcount, durable=durable, done=done
        )

    async def write(self, work: Callable[[Connection], T], *, durable: bool = False) -> T:
        """Queue a write transaction and wait for its commit.

        Raises:
            TakenOver: A newer run owns the thread.
            UserError: The disk is full or the database cannot be written.
        """
        return await asyncio.wrap_future(self.submit(work, durable=durable))

    def write_now(self, work: Callable[[Connection], T], *, durable: bool = False) -> T:
        """The same for code that has no event loop."""
        return self.submit(work, durable=durable).result()

    def fence(self, thread_id: str, run_no: int) -> None:
        """From now on refuse writes of this connection when a newer run owns the thread."""

        def create(connection: Connection) -> None:
            guarded = [*((table, "INSERT") for table in FENCED), ("effects", "UPDATE")]
            for table, operation in (*guarded, ("approvals", "UPDATE"), ("threads", "UPDATE")):
                # A thread that is opened again in this process has a run of its own.
                connection.exec_driver_sql(
                    f"DROP TRIGGER IF EXISTS {fence_name(table, thread_id, operation)}"
                )
                connection.exec_driver_sql(fence_sql(table, thread_id, run_no, operation))

        self.write_now(create)

    def close(self) -> None:
        """Finish what is queued and close the connection; the write-ahead log is merged."""
        self._jobs.put(None)
        self._worker.join()
        self._connection.close()
        self._connection.engine.dispose()

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            if job is None:
                return
            batch = [job]
            closing = False
            while len(batch) < MOST_PER_COMMIT:
                try:
                    more = self._jobs.get_nowait()
                except queue.Empty:
                    break
                if more is None:
                    closing = True
                    break
                batch.append(more)
            self._commit(batch)
            if closing:
                return

    def _commit(self, batch: list[_Job]) -> None:
        """One transaction for all; when it fails, one each, so that a job pays only for itself."""
        try:
            results = self._transaction(batch)
        except Exception as error:  # noqa: BLE001 - the worker's boundary: every failure belongs to a job's future
            # A locked file or a full disk fails them all: waiting again for each would take minutes.
            if len(batch) == 1 or isinstance(error, OperationalError):
                for job in batch:
                    job.future.set_exception(translate(error, self.path))
                return
            for job in batch:
                self._commit([job])
            return
        for job, result in zip(batch, results, strict=True):
            if job.done:
                job.done()
            job.future.set_result(result)

    def _transaction(self, batch: list[_Job]) -> list[Any]:
        durable = any(job.durable for job in batch)
        if durable != self._full_sync:
            self._connection.exec_driver_sql(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            self._full_sync = durable
        self._connection.exec_driver_sql("BEGIN IMMEDIATE")
        try:
            results = [job.work(self._connection) for job in batch]
            self._connection.exec_driver_sql("COMMIT")
        except BaseException:
            if self._connection.connection.dbapi_connection.in_transaction:  # type: ignore[union-attr]
                self._connection.exec_driver_sql("ROLLBACK")
            raise
        return results


class _Job:
    __slots__ = ("done", "durable", "future", "work")

    def __init__(
        self, work: Callable[[Connection], Any], durable: bool, done: Callable[[], None] | None
    ) -> None:
        self.work = work
        self.durable = durable
        self.done = done
        self.future: Future[Any] = Future()
        # Whoever waits may be cancelled; the job may not: a cancelled future would end the worker.
        self.future.set_running_or_notify_cancel()


def _connect(path: Path) -> Connection:
    engine = create_engine(
        f"sqlite:///{path}",
        poolclass=StaticPool,
        isolation_level="AUTOCOMMIT",
        connect_args={"check_same_thread": False, "timeout": BUSY_TIMEOUT_MS / 1000},
    )
    connection = engine.connect()
    connection.exec_driver_sql(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
    if version > SCHEMA_VERSION:
        connection.close()
        raise UserError(
            f"{path} was written by a newer ml-intern (schema {version}); update ml-intern to open it."
        )
    if version == 0:
        # Rows with heads of 2 KB fill pages of 4 KB badly: 5.9 against 5.2 MB after 300 iterations.
        connection.exec_driver_sql("PRAGMA page_size=8192")
    connection.exec_driver_sql("PRAGMA journal_mode=WAL")
    if version < SCHEMA_VERSION:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        metadata.create_all(connection)
        connection.exec_driver_sql(f"PRAGMA user_version={SCHEMA_VERSION}")
        connection.exec_driver_sql("COMMIT")
    return connection


@contextmanager
def in_words(path: Path) -> Iterator[None]:
    """Turn SQLite's errors inside into those a person or the run can act on.

    Raises:
        TakenOver: A newer run owns the thread.
        UserError: The database cannot be read or written.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise translate(error, path) from error


def translate(error: BaseException, path: Path) -> BaseException:
    """The error a person or the run can act on; bugs pass unchanged."""
    if TAKEN_OVER in str(error):
        return TakenOver(
            "Another ml-intern process took this thread over; nothing more was written by this one."
        )
    if isinstance(error, (OperationalError, sqlite3.OperationalError, DatabaseError, sqlite3.DatabaseError)):
        return database_error(error, path)
    return error


def database_error(error: BaseException, path: Path) -> UserError:
    """One line for the person: what is wrong with the database and what helps."""
    cause = error.orig if isinstance(error, DatabaseError) else error
    text = str(cause)
    if "full" in text or "No space" in text:
        return UserError(f"The disk that holds {path} is full; free some space and go on with -r.")
    if (
        "readonly" in text
        or "read-only" in text
        or "unable to open" in text
        or isinstance(cause, PermissionError)
    ):
        return UserError(f"{path} cannot be written; check its permissions or set ML_INTERN_HOME elsewhere.")
    if "not a database" in text or "malformed" in text:
        return UserError(
            f"{path} is damaged ({text}); move it away to start afresh, or restore a copy of it."
        )
    if "locked" in text:
        return UserError(
            f"{path} is locked by another program for over {BUSY_TIMEOUT_MS // 1000} s; try again."
        )
    return UserError(f"{path}: {text}")
