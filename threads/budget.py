"""One USD cap over everything a thread does, kept in the database so that it survives a resume."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, update

from ..events import now
from .tables import spend, threads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from ..llm.reply import Reply
    from .store import Store

Billed = tuple[int | None, float | None]
"""Tokens and USD of one model call; None where the provider did not say."""


class Ledger:
    """What one thread has spent, and what it may."""

    def __init__(
        self, store: Store, thread_id: str, model: str, max_cost_usd: float | None, row: dict[str, Any]
    ) -> None:
        """Go on from the totals in the thread's row.

        Args:
            store: The database.
            thread_id: The thread.
            model: Model id booked with each call.
            max_cost_usd: The cap; None for none.
            row: The thread's row, for what earlier runs have spent.
        """
        self._store = store
        self._thread_id = thread_id
        self._model = model
        self.max_cost_usd = max_cost_usd
        self.cost_usd: float = row["cost_usd"]
        self.unpriced_calls: int = row["unpriced_calls"]
        self.run_cost_usd = 0.0
        self.run_unpriced_calls = 0
        self._step_calls: list[Billed] = []
        self.usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0, "cache_read_tokens": 0}

    def record_model(self, kind: str, reply: Reply) -> None:
        """Book one model call; `kind` is main, compaction or research."""
        tokens = reply.usage.total_tokens if reply.usage else 0
        if reply.usage:
            for name in self.usage:
                self.usage[name] += getattr(reply.usage, name)
        if reply.cost_usd is None:
            self.unpriced_calls += 1
            self.run_unpriced_calls += 1
        self.cost_usd += reply.cost_usd or 0.0
        self.run_cost_usd += reply.cost_usd or 0.0
        self._step_calls.append((tokens if reply.usage else None, reply.cost_usd))
        row = {
            "thread_id": self._thread_id,
            "at": now(),
            "kind": "model" if kind == "main" else kind,
            "model": self._model,
            "tokens": tokens,
            "actual_usd": reply.cost_usd,
        }
        totals = {
            "total_tokens": threads.c.total_tokens + tokens,
            "cost_usd": threads.c.cost_usd + (reply.cost_usd or 0.0),
            "unpriced_calls": threads.c.unpriced_calls + (reply.cost_usd is None),
        }

        def book(connection: Connection) -> None:
            connection.execute(insert(spend), row)
            connection.execute(update(threads).where(threads.c.id == self._thread_id).values(totals))

        self._store.submit(book)

    def of_step(self) -> dict[str, Any]:
        """What the model calls since the last step took, as its row has it; None is not known."""
        calls, self._step_calls = self._step_calls, []
        return step_totals(calls)

    def carry(self, calls: Sequence[Billed]) -> None:
        """Count calls of an earlier run, which ended before their step, to the next step."""
        self._step_calls = [*calls, *self._step_calls]

    def exhausted(self, *, free: bool = False) -> str | None:
        """One line that says the cap is reached, or None.

        Args:
            free: The next call costs nothing; then a cap that nothing was spent of still holds, 0 too.
        """
        if self.max_cost_usd is None or self.cost_usd < self.max_cost_usd:
            return None
        if free and self.cost_usd == 0:
            return None
        return f"the cost cap of ${self.max_cost_usd:.2f} is reached (${self.cost_usd:.4f} spent)"


def step_totals(calls: Sequence[Billed]) -> dict[str, Any]:
    """Columns of a step row for what its model calls took: `tokens`, and `usd` when every price is known."""
    tokens = [count for count, _ in calls if count is not None]
    usd = [amount for _, amount in calls if amount is not None]
    found: dict[str, Any] = {"tokens": sum(tokens)} if tokens else {}
    return found | ({"usd": sum(usd)} if calls and len(usd) == len(calls) else {})
