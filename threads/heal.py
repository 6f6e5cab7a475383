"""Number the checkpoints that a crash left without a step."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from .budget import step_totals
from .describe import describe
from .store import in_words

if TYPE_CHECKING:
    from .budget import Billed
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
    billed = await _billed(saver, thread_id, journal.step)
    healed = 0
    for checkpoint_id, parent_id, metadata in rows:
        source = json.loads(metadata).get("source")
        written = await _written(saver, thread_id, parent_id)
        step = describe(written, node="tool_exec" if source == "update" and written else None)
        if step and source in ("loop", "update"):
            journal.record_step(checkpoint_id, **step._asdict() | step_totals(billed.get(journal.step, [])))
            healed += 1
    await journal.flush()
    newest = rows[-1][0] if rows else journal.last_checkpoint_id
    saver.remember(newest, await _written(saver, thread_id, newest))
    if saver.ledger:
        saver.ledger.carry(billed.get(journal.step, []))
    return healed


async def _billed(saver: JournalingSaver, thread_id: str, since_step: int) -> dict[int, list[Billed]]:
    """What model calls took, by the newest step at their time: the step before the one they belong to.

    Their events are stored before the checkpoint they lead to.
    """
    newest_first = (
        "SELECT step, CASE name WHEN 'llm_call' THEN data END FROM events "
        "WHERE thread_id = ? ORDER BY seq DESC"
    )
    found: dict[int, list[Billed]] = {}
    async with saver.conn.execute(newest_first, (thread_id,)) as cursor:
        async for step, data in cursor:
            if step < since_step:
                break
            if data:
                call = json.loads(data)
                found.setdefault(step, []).append((call.get("total_tokens"), call["cost_usd"]))
    return found


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
