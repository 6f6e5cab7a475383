"""A disk that is full, read-only, damaged or busy: one line, the right exit code, and nothing lost."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import tempfile
import threading
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ml_intern.tests.bench.script import Script, Step
from ml_intern.tests.crash.scenario import FINAL, MODELS, NO_LIMITS, PROMPT, THREAD, Scenario, call
from ml_intern.tests.crash.verdict import journal_breaches, read_history, read_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ml_intern.tests.crash.launch import Run, Warm

DISK_BYTES = 4 << 20
STEP_BYTES = 48 << 10


def held(scenario: Scenario) -> Script:
    """The second answer, which asks for a command, and the last wait until the test lets them come."""
    return Script(
        [
            Step(tool_calls=[call("read", path="a.txt")]),
            Step(tool_calls=[scenario.effect("E1"), call("read", path="b.txt")], hold="second"),
            Step(tool_calls=[scenario.effect("E2")]),
            Step(text=FINAL, hold="last"),
        ],
        mode="by_turns",
    )


def begin(scenario: Scenario, limits: Mapping[str, int] = NO_LIMITS) -> Run:
    return scenario.run("-m", MODELS["openai"], "-t", THREAD, PROMPT, output="text", limits=limits)


def the_line(run: Run) -> str:
    """The one line that says what is wrong; everything else on standard error is progress."""
    assert run.wait() == 1, run.errors
    assert "Traceback" not in run.errors
    assert "never retrieved" not in run.errors
    lines = [line for line in run.errors.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1, run.errors
    assert "internal error" not in lines[0]
    return lines[0]


def finish(scenario: Scenario, marks: list[str]) -> None:
    """The fault is gone: the thread goes on, and each effect has happened as told."""
    scenario.server.release("second")
    scenario.server.release("last")
    again = scenario.run("-r", THREAD)
    assert again.wait() == 0, again.errors
    assert again.events[-1]["data"]["final_response"] == FINAL
    assert scenario.marked() == marks
    history = read_history(scenario.database, THREAD)
    results = [entry for entry in history if entry["kind"] == "result"]
    assert [entry.get("status") for entry in results] == [None] * len(results)
    assert list(journal_breaches(scenario.database, THREAD, history)) == []


def mount(folder: Path, options: str) -> bool:
    """Whether this test may mount, and did."""
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    return os.geteuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0


def may_mount() -> bool:
    with tempfile.TemporaryDirectory() as folder:
        if not mount(Path(folder), "size=64k"):
            return False
        subprocess.run(["umount", folder], check=True)
        return True


MAY_MOUNT = may_mount()


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True)
    assert mount(folder, f"size={DISK_BYTES}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Take all that is left of the disk."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            return filler


@pytest.mark.skipif(not MAY_MOUNT, reason="only root may mount; the next test needs no rights")
def test_a_disk_that_fills_up_under_a_run_ends_it_with_one_line_and_loses_nothing(
    tmp_path: Path, warm: Warm
) -> None:
    with ExitStack() as stack:
        stack.enter_context(small_disk(tmp_path / "s" / "home"))
        scenario = stack.enter_context(Scenario(tmp_path / "s", warm, held))
        run = begin(scenario)
        scenario.server.wait_for_requests(2)
        filler = fill(scenario.home.parent)
        scenario.server.release("second")
        assert "is full" in the_line(run)
        assert scenario.marked() == []
        the_line(scenario.run("-r", THREAD, output="text"))
        filler.unlink()
        finish(scenario, ["E1", "E2"])


def test_a_limit_on_the_size_of_files_ends_a_run_with_one_line_and_loses_nothing(
    tmp_path: Path, warm: Warm
) -> None:
    with Scenario(tmp_path / "s", warm, held) as scenario:
        scenario.server.release("second")
        scenario.server.release("last")
        failed = 0
        limit = 16384
        # Each run gets a little further, until one has room enough for all of the turn.
        while (run := begin(scenario, {"FSIZE": limit})).wait() == 1 and not _asked(scenario.database):
            assert str(scenario.database) in the_line(run)
            failed, limit = failed + 1, limit + STEP_BYTES
        while run.exit_code == 1:
            assert str(scenario.database) in the_line(run)
            failed, limit = failed + 1, limit + STEP_BYTES
            run = scenario.run("-r", THREAD, output="text", limits={"FSIZE": limit})
            run.wait()
        assert run.exit_code == 0, run.errors
        assert run.text == f"{FINAL}\n"
        assert failed > 3
        history = read_history(scenario.database, THREAD)
        results = [entry for entry in history if entry["kind"] == "result"]
        told = [entry.get("status") for entry in results if entry["message"]["name"] == "bash"]
        assert len(told) == 2
        for mark, status in zip(("E1", "E2"), told, strict=True):
            assert scenario.marked().count(mark) in ((1,) if status is None else (0, 1))
            assert status in (None, "unknown")
        assert list(journal_breaches(scenario.database, THREAD, history)) == []


def _asked(database: Path) -> bool:
    """Whether the prompt was stored."""
    tables = [row["name"] for row in read_rows(database, "SELECT name FROM sqlite_master")]
    return "events" in tables and bool(
        read_rows(database, "SELECT 1 FROM events WHERE name = 'user_message'")
    )


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Make a directory and the files in it read-only, also for root where it may mount."""
    if os.geteuid() != 0:
        modes = {path: path.stat().st_mode for path in (folder, *folder.rglob("*"))}
        for path, mode in modes.items():
            path.chmod(mode & ~0o222)
        try:
            yield
        finally:
            for path, mode in modes.items():
                path.chmod(mode)
        return
    subprocess.run(["mount", "--bind", str(folder), str(folder)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.skipif(os.geteuid() == 0 and not MAY_MOUNT, reason="nothing is read-only for root")
def test_a_read_only_home_is_named_and_the_thread_goes_on_when_it_is_not(tmp_path: Path, warm: Warm) -> None:
    with Scenario(tmp_path / "s", warm, held) as scenario:
        run = begin(scenario)
        scenario.server.wait_for_requests(2)
        run.kill()
        with read_only(scenario.home):
            line = the_line(scenario.run("-r", THREAD, output="text"))
            assert str(scenario.home) in line
            assert "ML_INTERN_HOME" in line
        finish(scenario, ["E1", "E2"])


def test_a_file_that_is_no_database_is_named_and_left_alone(tmp_path: Path, warm: Warm) -> None:
    with Scenario(tmp_path / "s", warm, held) as scenario:
        run = begin(scenario)
        scenario.server.wait_for_requests(2)
        run.kill()
        _merge(scenario.database)
        whole = scenario.database.read_bytes()
        scenario.database.write_bytes(b"this is a shopping list, not a database\n" * 200)
        broken = scenario.database.read_bytes()
        line = the_line(scenario.run("-r", THREAD, output="text"))
        assert str(scenario.database) in line
        assert "damaged" in line
        assert scenario.database.read_bytes() == broken
        scenario.database.write_bytes(whole)
        finish(scenario, ["E1", "E2"])


@pytest.mark.parametrize("table", ["events", "checkpoints", "writes", "threads"])
def test_a_database_with_a_broken_page_is_named(tmp_path: Path, warm: Warm, table: str) -> None:
    with Scenario(tmp_path / "s", warm, held) as scenario:
        run = begin(scenario)
        scenario.server.wait_for_requests(2)
        run.kill()
        _merge(scenario.database)
        whole = scenario.database.read_bytes()
        with closing(sqlite3.connect(scenario.database)) as connection:
            size = connection.execute("PRAGMA page_size").fetchone()[0]
            query = "SELECT rootpage FROM sqlite_master WHERE name = ?"
            page = connection.execute(query, (table,)).fetchone()[0]
        with scenario.database.open("r+b") as file:
            file.seek((page - 1) * size)
            file.write(b"\xff" * size)
        line = the_line(scenario.run("-r", THREAD, output="text"))
        assert str(scenario.database) in line
        assert "damaged" in line
        scenario.database.write_bytes(whole)
        for tail in ("-wal", "-shm"):
            scenario.database.with_name(scenario.database.name + tail).unlink(missing_ok=True)
        finish(scenario, ["E1", "E2"])


def _merge(database: Path) -> None:
    """Bring the write-ahead log of a killed run into the file itself."""
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@contextmanager
def locked(database: Path, seconds: float = 0.0) -> Iterator[None]:
    """Hold the write lock from another connection for so many seconds, or for as long as the block runs."""
    with closing(sqlite3.connect(database, check_same_thread=False, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        if not seconds:
            yield
            connection.execute("ROLLBACK")
            return
        timer = threading.Timer(seconds, connection.execute, ["ROLLBACK"])
        timer.start()
        try:
            yield
        finally:
            timer.join()


def test_a_database_locked_for_a_second_is_waited_for(tmp_path: Path, warm: Warm) -> None:
    with Scenario(tmp_path / "s", warm, held) as scenario:
        run = begin(scenario)
        scenario.server.wait_for_requests(2)
        with locked(scenario.database, 1.0):
            scenario.server.release("second")
        scenario.server.wait_for_requests(4)
        with locked(scenario.database, 1.0):
            scenario.server.release("last")
        assert run.wait() == 0, run.errors
        assert run.text == f"{FINAL}\n"
        with locked(scenario.database, 1.0):
            again = scenario.run("-r", THREAD, output="text")
        assert again.wait() == 0, again.errors
        assert again.text == f"{FINAL}\n"
        assert scenario.marked() == ["E1", "E2"]


@pytest.mark.slow
def test_a_database_locked_for_longer_than_anyone_waits_is_named(tmp_path: Path, warm: Warm) -> None:
    with Scenario(tmp_path / "s", warm, held) as scenario:
        run = begin(scenario)
        scenario.server.wait_for_requests(2)
        with locked(scenario.database):
            scenario.server.release("second")
            assert "locked by another program" in the_line(run)
        assert scenario.marked() == []
        with locked(scenario.database):
            assert "locked by another program" in the_line(scenario.run("-r", THREAD, output="text"))
        finish(scenario, ["E1", "E2"])
