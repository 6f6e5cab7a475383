"""Questions to the person, in our table: any terminal finds them without opening a checkpoint."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, update

from ..events import now
from . import listing
from .tables import approvals

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langgraph.types import StateSnapshot

    from .store import Store

APPROVAL_NODE = "approval_interrupt"


def asked_by(state: StateSnapshot) -> dict[str, Any] | None:
    """The question the graph waits at, as its newest checkpoint has it; None when it waits at none."""
    for task in state.tasks:
        if task.name == APPROVAL_NODE and task.name in state.next and task.interrupts:
            return dict(task.interrupts[0].value)
    return None


async def waiting_question(store: Store, thread_id: str, state: StateSnapshot) -> dict[str, Any] | None:
    """The row of the question the graph waits at, brought in line with it; None when it waits at none.

    A crash may come between the graph's checkpoint and our row, in both directions: a question asked that
    has no row would be answered by the default of the next run, and one answered that still stands open
    would be shown to a person again.
    """
    payload = asked_by(state)
    if payload is not None:
        await keep(store, thread_id, payload)
    await asyncio.wrap_future(settle_others(store, thread_id, payload))
    return await asyncio.to_thread(listing.waiting_approval, store, thread_id)


async def keep(store: Store, thread_id: str, payload: Mapping[str, Any]) -> None:
    """Add the question unless it is there already, with its answer perhaps."""
    row = {
        "thread_id": thread_id,
        "payload_hash": payload["payload_hash"],
        "asked_at": now(),
        "payload": json.dumps(payload),
    }
    await asyncio.wrap_future(store.execute(insert(approvals).prefix_with("OR IGNORE").values(row)))


async def keep_answer(store: Store, thread_id: str, answer: Mapping[str, Any]) -> None:
    """Put the answer on disk before it is acted on: a crash must not ask the person again."""
    statement = (
        update(approvals)
        .where(
            approvals.c.thread_id == thread_id,
            approvals.c.payload_hash == answer["payload_hash"],
            approvals.c.answer.is_(None),
        )
        .values(answer=json.dumps(answer), answered_at=now())
    )
    await asyncio.wrap_future(store.execute(statement, durable=True))


def settle_others(store: Store, thread_id: str, payload: Mapping[str, Any] | None) -> Any:
    """Mark every question as over but this one; returns the future of the write."""
    statement = update(approvals).where(approvals.c.thread_id == thread_id, approvals.c.settled.is_(False))
    if payload is not None:
        statement = statement.where(approvals.c.payload_hash != payload["payload_hash"])
    return store.execute(statement.values(settled=True))
