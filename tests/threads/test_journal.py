from __future__ import annotations

import asyncio
import itertools
import sys
from typing import TYPE_CHECKING

import pytest

from ml_intern.errors import TakenOver
from ml_intern.threads import listing
from ml_intern.threads.journal import SEQ_BLOCK, Journal
from ml_intern.threads.opening import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ml_intern.events import Event
    from ml_intern.threads.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(tmp_path / "home")
    listing.create_thread(store, "t", cwd="/", model="m", system_prompt="")
    yield store
    store.close()


async def test_an_event_is_in_the_database_when_its_listener_gets_it(store: Store) -> None:
    stored: list[tuple[int, list[int]]] = []

    def listen(event: Event) -> None:
        stored.append((event.seq, [row["seq"] for row in listing.event_rows(store, "t")]))

    journal = Journal(store, "t", listen)
    for n in range(20):
        journal.emit("processing", {"message": str(n)})
    await journal.drain()
    assert len(stored) == 20
    assert all(seq in rows for seq, rows in stored)


async def test_stored_and_unstored_events_are_shown_in_the_order_of_their_numbers(store: Store) -> None:
    shown: list[Event] = []
    journal = Journal(store, "t", shown.append)
    for n in range(200):
        journal.emit("assistant_chunk" if n % 3 else "tool_log", {"n": n})
        if n % 50 == 0:
            await asyncio.sleep(0)
    await journal.drain()
    assert [event.data["n"] for event in shown] == list(range(200))
    numbers = [event.seq for event in shown]
    assert numbers == sorted(set(numbers))
    assert [row["data"]["n"] for row in listing.event_rows(store, "t")] == list(range(0, 200, 3))


async def test_numbers_go_on_past_a_block_and_past_a_crash(store: Store) -> None:
    shown: list[Event] = []
    for _ in range(2):
        journal = Journal(store, "t", shown.append)
        for _ in range(SEQ_BLOCK + 10):
            journal.emit("assistant_chunk", {})
        journal.emit("processing", {})
        await journal.drain()
    numbers = [event.seq for event in shown]
    assert all(earlier < later for earlier, later in itertools.pairwise(numbers))
    assert numbers[0] == 1
    assert max(numbers) <= 6 * SEQ_BLOCK


EMIT = """
import asyncio, pathlib, sys
from ml_intern.threads.journal import Journal
from ml_intern.threads.opening import open_store

async def emit():
    journal = Journal(store, "t", lambda _: None)
    for _ in range(60):
        journal.emit("processing", {})
        await journal.flush()

store = open_store(pathlib.Path(sys.argv[1]))
asyncio.run(emit())
store.close()
"""


async def test_two_processes_never_give_the_same_number(store: Store, tmp_path: Path) -> None:
    others = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", EMIT, str(tmp_path / "home"))
        for _ in range(2)
    ]
    journal = Journal(store, "t", lambda _: None)
    for _ in range(60):
        journal.emit("processing", {})
        await journal.flush()
    assert [await process.wait() for process in others] == [0, 0]
    numbers = [row["seq"] for row in listing.event_rows(store, "t")]
    assert len(numbers) == len(set(numbers)) == 180


async def test_an_event_that_could_not_be_stored_is_not_shown_and_ends_the_run(
    store: Store, tmp_path: Path
) -> None:
    shown: list[Event] = []
    store.fence("t", listing.begin_run(store, "t"))
    journal = Journal(store, "t", shown.append)
    journal.emit("processing", {})
    await journal.drain()
    newer = open_store(tmp_path / "home")
    listing.begin_run(newer, "t")
    journal.emit("tool_log", {})
    journal.emit("assistant_chunk", {})
    with pytest.raises(TakenOver):
        await journal.flush()
    # Were the next one stored, flushing must still say that one is missing.
    newer.write_now(lambda connection: connection.exec_driver_sql("UPDATE threads SET run_no = 1"))
    newer.close()
    journal.emit("tool_output", {})
    with pytest.raises(TakenOver):
        await journal.drain()
    assert [event.name for event in shown if event.name != "assistant_chunk"] == ["processing", "tool_output"]


async def test_steps_are_numbered_on_across_runs_and_events_name_the_step_before(store: Store) -> None:
    journal = Journal(store, "t", lambda _: None)
    journal.emit("processing", {})
    journal.record_step("c1", "compact", "room enough")
    journal.emit("processing", {})
    await journal.flush()
    journal = Journal(store, "t", lambda _: None)
    assert (journal.step, journal.last_checkpoint_id) == (1, "c1")
    journal.record_step("c2", "llm_call", "hello", tokens=7, usd=0.5)
    journal.emit("processing", {})
    await journal.flush()
    assert [(row["step"], row["checkpoint_id"], row["usd"]) for row in listing.step_rows(store, "t")] == [
        (1, "c1", None),
        (2, "c2", 0.5),
    ]
    assert [row["step"] for row in listing.event_rows(store, "t")] == [0, 1, 2]


def test_a_loop_that_ended_early_does_not_stop_the_store(store: Store) -> None:
    async def emit_and_leave() -> None:
        journal = Journal(store, "t", lambda _: None)
        for _ in range(50):
            journal.emit("processing", {})

    asyncio.run(emit_and_leave())
    assert store.submit(lambda _: "alive").result(timeout=20) == "alive"
    assert len(listing.event_rows(store, "t")) == 50


async def test_a_cancelled_wait_neither_loses_the_event_nor_stops_the_store(store: Store) -> None:
    shown: list[Event] = []
    journal = Journal(store, "t", shown.append)
    for n in range(20):
        journal.emit("processing", {"n": n})
        waiting = asyncio.ensure_future(journal.flush())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    async with asyncio.timeout(20):
        await journal.drain()
    assert [event.data["n"] for event in shown] == list(range(20))
