"""What the database says about threads, without opening a single checkpoint."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, insert, select, update

from ..errors import UserError
from ..events import now
from . import ids
from .tables import approvals, effects, events, spend, steps, threads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from .store import Store

TITLE_CHARS = 72


def all_ids(store: Store) -> list[str]:
    """Every thread id."""
    return store.write_now(lambda connection: list(connection.scalars(select(threads.c.id))))


def resolve_id(store: Store, text: str) -> str:
    """The thread meant by an id or a unique prefix of one."""
    return ids.resolve(text, all_ids(store))


def thread_rows(store: Store, cwd: str | None = None, limit: int | None = None) -> list[dict[str, Any]]:
    """Threads, newest first; of one directory when `cwd` is given."""
    shown = [column for column in threads.c if column.name not in ("system_prompt", "next_seq")]
    statement = select(*shown).order_by(threads.c.updated_at.desc(), threads.c.id)
    if cwd:
        statement = statement.where(threads.c.cwd == cwd)
    if limit:
        statement = statement.limit(limit)
    return store.write_now(lambda connection: _dicts(connection.execute(statement)))


def thread_row(store: Store, thread_id: str) -> dict[str, Any] | None:
    """One thread, or None."""
    statement = select(threads).where(threads.c.id == thread_id)

    def read(connection: Connection) -> dict[str, Any] | None:
        row = connection.execute(statement).mappings().first()
        return dict(row) if row else None

    return store.write_now(read)


def last_thread_of(store: Store, cwd: str) -> str:
    """The newest thread of a directory.

    Raises:
        UserError: There is none.
    """
    rows = thread_rows(store, cwd=cwd, limit=1)
    if not rows:
        raise UserError(f"No thread was started in {cwd}; see `ml-intern threads list --all`.")
    return str(rows[0]["id"])


def create_thread(store: Store, thread_id: str, *, cwd: str, model: str, system_prompt: str) -> None:
    """Add a row for a new thread."""
    row = {
        "id": thread_id,
        "cwd": cwd,
        "model": model,
        "created_at": now(),
        "updated_at": now(),
        "system_prompt": system_prompt,
    }
    store.execute(insert(threads), row).result()


def begin_run(store: Store, thread_id: str) -> int:
    """Take the next run number of the thread; writes of older runs are refused from now on."""
    mine = threads.c.id == thread_id

    def increase(connection: Connection) -> int:
        connection.execute(update(threads).where(mine).values(run_no=threads.c.run_no + 1))
        number: int = connection.execute(select(threads.c.run_no).where(mine)).scalar_one()
        return number

    return store.write_now(increase, durable=True)


def step_rows(store: Store, thread_id: str) -> list[dict[str, Any]]:
    """The thread's steps, oldest first, as `history -o json` gives them."""
    columns = [
        steps.c.step, steps.c.checkpoint_id, steps.c.node, steps.c.at,
        steps.c.what, steps.c.tokens, steps.c.usd, steps.c.undone,
    ]  # fmt: skip
    statement = select(*columns).where(steps.c.thread_id == thread_id).order_by(steps.c.step)
    return store.write_now(lambda connection: _dicts(connection.execute(statement)))


def event_rows(store: Store, thread_id: str, names: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Stored events, oldest first; only some kinds when `names` are given."""
    statement = select(events).where(events.c.thread_id == thread_id).order_by(events.c.seq)
    if names:
        statement = statement.where(events.c.name.in_(names))
    rows = store.write_now(lambda connection: _dicts(connection.execute(statement)))
    return [{**row, "data": json.loads(row["data"])} for row in rows]


def last_event(store: Store, thread_id: str, names: Sequence[str]) -> dict[str, Any] | None:
    """Data of the newest stored event of these kinds, with its name and the newest step of its time."""
    statement = (
        select(events.c.name, events.c.data, events.c.step)
        .where(events.c.thread_id == thread_id, events.c.name.in_(names))
        .order_by(events.c.seq.desc())
        .limit(1)
    )
    row = store.write_now(lambda connection: connection.execute(statement).first())
    return {"name": row.name, "data": json.loads(row.data), "step": row.step} if row else None


def waiting_approval(store: Store, thread_id: str) -> dict[str, Any] | None:
    """The question that waits for a person, and the answer if one was left for it."""
    statement = (
        select(approvals)
        .where(approvals.c.thread_id == thread_id, approvals.c.settled.is_(False))
        .order_by(approvals.c.asked_at.desc())
        .limit(1)
    )
    row = store.write_now(lambda connection: connection.execute(statement).mappings().first())
    if row is None:
        return None
    answer = json.loads(row["answer"]) if row["answer"] else None
    return {**row, "payload": json.loads(row["payload"]), "answer": answer}


def leave_answer(store: Store, thread_id: str, answer: dict[str, Any]) -> None:
    """Store an answer for whoever runs the thread.

    Raises:
        UserError: The question is no longer the one that was answered.
    """
    statement = (
        update(approvals)
        .where(
            approvals.c.thread_id == thread_id,
            approvals.c.payload_hash == answer["payload_hash"],
            approvals.c.settled.is_(False),
            approvals.c.answer.is_(None),
        )
        .values(answer=json.dumps(answer), answered_at=now())
    )
    if not store.execute(statement, durable=True).result():
        raise UserError("This approval was answered or given up in the meantime; nothing was changed.")


def files_touched(store: Store, thread_id: str) -> list[str]:
    """Paths that file tools changed, in order of their first change."""
    statement = (
        select(effects.c.fingerprint)
        .where(effects.c.thread_id == thread_id, effects.c.state == "finished", effects.c.fingerprint != "{}")
        .order_by(effects.c.started_at)
    )
    rows = store.write_now(lambda connection: list(connection.scalars(statement)))
    return list(dict.fromkeys(path for row in rows if (path := json.loads(row).get("path"))))


def totals(store: Store, thread_id: str) -> dict[str, Any]:
    """Counts and sums of one thread: steps, calls with effects, tokens and USD by kind."""

    def read(connection: Connection) -> dict[str, Any]:
        amounts = connection.execute(
            select(spend.c.kind, func.count(), func.sum(spend.c.tokens), func.sum(spend.c.actual_usd))
            .where(spend.c.thread_id == thread_id)
            .group_by(spend.c.kind)
        )
        by_kind = {
            kind: {"count": count, "tokens": tokens, "usd": usd} for kind, count, tokens, usd in amounts
        }
        step_count = connection.execute(
            select(func.count()).where(steps.c.thread_id == thread_id)
        ).scalar_one()
        states = connection.execute(
            select(effects.c.state, func.count())
            .where(effects.c.thread_id == thread_id)
            .group_by(effects.c.state)
        )
        return {"steps": step_count, "spend": by_kind, "effects": dict(states.all())}

    return store.write_now(read)


def title_of(prompt: str) -> str:
    """A title made from the first prompt."""
    line = " ".join(prompt.split())
    return line if len(line) <= TITLE_CHARS else f"{line[: TITLE_CHARS - 1]}…"


def _dicts(result: Any) -> list[dict[str, Any]]:
    return [dict(row) for row in result.mappings()]
