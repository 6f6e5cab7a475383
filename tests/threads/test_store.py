from __future__ import annotations

import asyncio
import shutil
import sqlite3
import threading
from typing import TYPE_CHECKING, Any

import pytest

from ml_intern.errors import TakenOver, UserError
from ml_intern.threads import listing
from ml_intern.threads.store import DATABASE_NAME, Store
from ml_intern.threads.tables import SCHEMA_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Connection


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / DATABASE_NAME


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    store = Store(path)
    yield store
    store.close()


def add(store: Store, thread_id: str) -> None:
    listing.create_thread(store, thread_id, cwd="/", model="m", system_prompt="")


async def test_jobs_that_wait_share_a_commit_and_keep_their_order(store: Store) -> None:
    gate = threading.Event()
    transactions: list[int] = []

    def job(number: int) -> Any:
        def work(connection: Connection) -> int:
            transactions.append(id(connection.connection.dbapi_connection))
            return number

        return work

    blocked = store.submit(lambda _: gate.wait(20))
    before = store.submit(lambda connection: connection.exec_driver_sql("PRAGMA data_version").scalar())
    done: list[int] = []
    futures = [store.submit(job(n), done=lambda n=n: done.append(n)) for n in range(30)]  # type: ignore[misc]
    gate.set()
    assert [await asyncio.wrap_future(future) for future in futures] == list(range(30))
    assert done == list(range(30))
    assert blocked.result()
    assert before.result() is not None


async def test_a_job_that_fails_costs_only_itself(store: Store) -> None:
    gate = threading.Event()
    store.submit(lambda _: gate.wait(20))
    good = store.submit(lambda connection: connection.exec_driver_sql(INSERT.format("a")).rowcount)
    bad = store.submit(lambda connection: connection.exec_driver_sql(INSERT.format("a")).rowcount)
    also_good = store.submit(lambda connection: connection.exec_driver_sql(INSERT.format("b")).rowcount)
    gate.set()
    assert (good.result(20), also_good.result(20)) == (1, 1)
    with pytest.raises(UserError, match="UNIQUE"):
        bad.result(20)
    assert listing.all_ids(store) == ["a", "b"]


INSERT = (
    "INSERT INTO threads (id, cwd, created_at, updated_at, title, model, status, run_no, next_seq,"
    " turn_count, total_tokens, cost_usd, unpriced_calls, iterations_base, system_prompt)"
    " VALUES ('{}', '/', '', '', '', '', 'idle', 0, 1, 0, 0, 0, 0, 0, '')"
)


async def test_a_bug_in_a_job_reaches_who_asked_and_the_store_goes_on(store: Store) -> None:
    def bug(connection: Connection) -> None:
        connection.exec_driver_sql(INSERT.format("half"))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await store.write(bug)
    add(store, "whole")
    assert listing.all_ids(store) == ["whole"]


async def test_cancelling_who_waits_neither_drops_the_write_nor_hurts_the_store(store: Store) -> None:
    gate = threading.Event()
    store.submit(lambda _: gate.wait(20))
    writing = asyncio.ensure_future(
        store.write(lambda connection: connection.exec_driver_sql(INSERT.format("a")).rowcount)
    )
    await asyncio.sleep(0)
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    gate.set()
    assert await asyncio.to_thread(store.submit(lambda _: "alive").result, 20) == "alive"
    assert listing.all_ids(store) == ["a"]


@pytest.mark.parametrize(("durable", "level"), [(True, 2), (False, 1)])
async def test_a_durable_write_is_synced_to_disk_and_the_others_are_not(
    store: Store, durable: bool, level: int
) -> None:
    def synchronous(connection: Connection) -> int:
        found: int = connection.exec_driver_sql("PRAGMA synchronous").scalar_one()
        return found

    await store.write(synchronous, durable=not durable)
    assert await store.write(synchronous, durable=durable) == level


def test_a_file_of_a_newer_release_is_refused_and_left_alone(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version={SCHEMA_VERSION + 1}")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(UserError, match="newer ml-intern"):
        Store(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"not a database, but long enough to look at. " * 40, b"x" * 4096])
def test_what_is_no_database_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        Store(path)
    assert path.read_bytes() == content


def test_a_copy_of_the_file_opens(path: Path, tmp_path: Path) -> None:
    store = Store(path)
    add(store, "a")
    store.close()
    shutil.copy(path, tmp_path / "copy.db")
    copy = Store(tmp_path / "copy.db")
    assert listing.all_ids(copy) == ["a"]
    copy.close()


async def test_an_older_run_can_write_nothing_of_the_thread_any_more(path: Path, store: Store) -> None:
    add(store, "a")
    add(store, "b")
    store.fence("a", listing.begin_run(store, "a"))
    newer = Store(path)
    newer.fence("a", listing.begin_run(newer, "a"))
    statement = (
        "INSERT INTO events (thread_id, seq, at, name, data, step) VALUES ('{}', {}, '', 'x', '{{}}', 0)"
    )
    with pytest.raises(TakenOver):
        await store.write(lambda connection: connection.exec_driver_sql(statement.format("a", 1)))
    await store.write(lambda connection: connection.exec_driver_sql(statement.format("b", 1)))
    await newer.write(lambda connection: connection.exec_driver_sql(statement.format("a", 1)))
    newer.close()


def test_closing_finishes_what_is_queued_and_is_harmless_twice(path: Path) -> None:
    store = Store(path)
    futures = [
        store.submit(lambda connection, n=n: connection.exec_driver_sql(INSERT.format(n)).rowcount)  # type: ignore[misc]
        for n in range(100)
    ]
    store.close()
    store.close()
    assert all(future.result(0) == 1 for future in futures)
    again = Store(path)
    assert len(listing.all_ids(again)) == 100
    again.close()
