"""The record of calls with effects: what keeps a finished call from running twice after a crash."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select, update

from ..events import now
from .tables import effects, events

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from ..graphs.state import EffectRecord, Entry
    from ..tools.base import Effect
    from .store import Store

HEAD_CHARS = 2048


class EffectLog:
    """Effects of one thread. A row of a `once` call is on disk (fsync) before the call starts."""

    def __init__(self, store: Store, thread_id: str, run_no: int, lineage: Sequence[str] = ()) -> None:
        """Load what earlier runs left, along the thread's ancestors.

        Args:
            store: The database.
            thread_id: The thread that runs.
            run_no: Its run, written into every row.
            lineage: Ids of its ancestors, whose finished calls are its own too.
        """
        self._store = store
        self._thread_id = thread_id
        self._run_no = run_no
        self._durable: set[str] = set()
        self._open: set[str] = set()
        self._whole: list[str] = []
        self._read: dict[str, Entry] = {}
        self._left, self._seen = store.write_now(lambda connection: _load(connection, [thread_id, *lineage]))
        self._open |= {call_id for call_id, record in self._left.items() if record["state"] == "started"}
        self._results = {
            call_id: record["entry"] for call_id, record in self._left.items() if record["entry"]
        }

    def find(self, call_id: str, digest: str) -> EffectRecord | None:
        """What an earlier run left of this very call: same id, same arguments."""
        record = self._left.get(call_id)
        return record if record and record["digest"] == digest else None

    def result(self, call_id: str) -> Entry | None:
        """The result of a call that finished, also one that no checkpoint holds yet."""
        return self._results.get(call_id) or self._read.get(call_id)

    def remember(self, call_id: str, entry: Entry) -> None:
        """Keep the result of a call without effect in memory, until a checkpoint holds it."""
        self._read[call_id] = entry

    def finished_calls(self) -> set[str]:
        """Calls whose result is known."""
        return set(self._results)

    def known_calls(self) -> set[str]:
        """Calls that have left a record, also those that the history no longer shows."""
        return self._left.keys() | self._open | self._results.keys()

    def open_calls(self) -> set[str]:
        """Calls that started and nobody knows how they ended."""
        return set(self._open)

    def is_open(self, call_id: str) -> bool:
        """Whether this call started and nobody knows how it ended."""
        return call_id in self._open

    def attempt(self, call_id: str) -> int:
        """Which run of this call this is, from 1."""
        return self._seen.get(call_id, 0) + 1

    async def start(
        self, call_id: str, digest: str, tool: str, effect: Effect, fingerprint: dict[str, str]
    ) -> None:
        """Put on disk that the call starts now; a second start of an `idempotent` call replaces the first.

        Raises:
            TakenOver: A newer run owns the thread, so the call must not start.
        """
        row = {
            "thread_id": self._thread_id,
            "call_id": call_id,
            "digest": digest,
            "tool": tool,
            "effect": effect,
            "state": "started",
            "run_no": self._run_no,
            "started_at": now(),
            "fingerprint": json.dumps(fingerprint),
        }
        if effect == "once":
            self._durable.add(call_id)
        self._open.add(call_id)
        statement = insert(effects).prefix_with("OR REPLACE").values(row)
        await asyncio.wrap_future(self._store.execute(statement, durable=effect == "once"))

    async def finish(self, call_id: str, entry: Entry, *, unknown: bool = False) -> None:
        """Put the result on disk before the node returns it."""
        # Known before it is stored: a call whose wait for the disk is cancelled did finish all the same.
        self._results[call_id] = entry
        self._open.discard(call_id)
        statement = (
            update(effects)
            .where(effects.c.thread_id == self._thread_id, effects.c.call_id == call_id)
            .values(
                state="unknown" if unknown else "finished",
                finished_at=now(),
                entry_id=entry["id"],
                entry=json.dumps(entry),
            )
        )
        durable = call_id in self._durable
        await asyncio.wrap_future(self._store.execute(statement, durable=durable))
        self._whole.append(call_id)

    def checkpointed(self) -> None:
        """A checkpoint holds the results finished so far: keep only their heads here."""
        self._read.clear()
        if not self._whole:
            return
        done, self._whole = self._whole, []
        self._store.submit(lambda connection: _trim(connection, self._thread_id, done))


def _load(
    connection: Connection, thread_ids: Sequence[str]
) -> tuple[dict[str, EffectRecord], dict[str, int]]:
    rows = connection.execute(
        select(effects.c.call_id, effects.c.digest, effects.c.state, effects.c.fingerprint, effects.c.entry)
        .where(effects.c.thread_id.in_(thread_ids))
        .where((effects.c.state == "started") | effects.c.entry.is_not(None))
    )
    left: dict[str, EffectRecord] = {}
    for call_id, digest, state, fingerprint, entry in rows:
        left[call_id] = {
            "digest": digest,
            "state": state,
            "fingerprint": json.loads(fingerprint),
            "entry": json.loads(entry) if entry else None,
        }
    seen: dict[str, int] = {}
    newest = (
        select(events.c.data)
        .where(events.c.thread_id == thread_ids[0], events.c.name == "tool_call")
        .order_by(events.c.seq.desc())
        .limit(200)
    )
    for (data,) in connection.execute(newest):
        call_id = json.loads(data)["tool_call_id"]
        seen[call_id] = seen.get(call_id, 0) + 1
    return left, seen


def _trim(connection: Connection, thread_id: str, call_ids: Sequence[str]) -> None:
    mine = (effects.c.thread_id == thread_id) & effects.c.call_id.in_(call_ids)
    for call_id, text in connection.execute(select(effects.c.call_id, effects.c.entry).where(mine)).all():
        entry: dict[str, Any] = json.loads(text)
        content = entry["message"].get("content")
        if isinstance(content, str) and len(content) <= HEAD_CHARS:
            continue
        entry["message"]["content"] = str(content)[:HEAD_CHARS]
        statement = update(effects).where(effects.c.thread_id == thread_id, effects.c.call_id == call_id)
        connection.execute(statement.values(entry=json.dumps(entry)))
