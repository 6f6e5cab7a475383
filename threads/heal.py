"""Number the checkpoints that a crash left without a step."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from .describe import describe
from .store import in_words

if TYPE_CHECKING:
    from .checkpointer import JournalingSaver
    from .journal import Journal


async def heal_steps(saver: JournalingSaver, journal: Journal, thread_id: str) -> int:
    """Add a step row for every node's checkpoint newer than the newest step; returns how many."""
    with in_words(saver.path):
        return await _heal(saver, journal, thread_id)


async def _heal(saver: JournalingSaver, journal: Journal, thread_id: str) -> int:
    newer = (
        "SELECT checkpoint_id, parent_checkpoint_id, metadata FROM checkpoints "
        "WHERE thread_id = ? AND checkpoint_ns = '' AND checkpoint_id > ? ORDER BY checkpoint_id"
    )
    async with saver.conn.execute(newer, (thread_id, journal.last_checkpoint_id or "")) as cursor:
        rows = list(await cursor.fetchall())
    healed = 0
    for checkpoint_id, parent_id, metadata in rows:
        source = json.loads(metadata).get("source")
        written = await _written(saver, thread_id, parent_id)
        step = describe(written, node="tool_exec" if source == "update" and written else None)
        if step and source in ("loop", "update"):
            journal.record_step(checkpoint_id, **step._asdict())
            healed += 1
    await journal.flush()
    newest = rows[-1][0] if rows else journal.last_checkpoint_id
    saver.remember(newest, await _written(saver, thread_id, newest))
    return healed


async def _written(
    saver: JournalingSaver, thread_id: str, parent_id: str | None
) -> list[tuple[str, list[tuple[str, Any]]]]:
    """What the tasks of a checkpoint wrote, as `describe` takes it."""
    query = (
        "SELECT task_path, task_id, channel, type, value FROM writes "
        "WHERE thread_id = ? AND checkpoint_ns = '' AND checkpoint_id = ? ORDER BY task_path, task_id, idx"
    )
    tasks: dict[tuple[str, str], list[tuple[str, Any]]] = {}
    async with saver.conn.execute(query, (thread_id, parent_id or "")) as cursor:
        async for task_path, task_id, channel, kind, value in cursor:
            tasks.setdefault((task_path, task_id), []).append(
                (channel, saver.serde.loads_typed((kind, value)))
            )
    return [(task_path, writes) for (task_path, _), writes in tasks.items()]
