"""What happened in a thread: its events and steps, stored before anybody sees them."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import case, func, insert, select, update

from ..events import UNSTORED, Event, now
from .tables import events, steps, threads

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from sqlalchemy import Connection

    from ..events import EventName
    from .store import Store

SEQ_BLOCK = 1_000
"""Numbers reserved at a time, so that unstored chunks need no write each; a crash leaves a gap."""


class Journal:
    """Numbers, stores and then hands out the events of one thread, and numbers its steps."""

    def __init__(self, store: Store, thread_id: str, listener: Callable[[Event], None]) -> None:
        self._store = store
        self._thread_id = thread_id
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._next_seq = self._reserved_until = 0
        self._next_block: Future[int] | None = None
        self._last: Future[Any] | None = None
        self._failure: BaseException | None = None
        self.step, self.last_checkpoint_id = store.write_now(self._newest_step)

    def emit(self, name: EventName, data: dict[str, Any]) -> None:
        """Store the event, then show it. Returns at once; `flush` waits for the disk."""
        if self._next_seq == self._reserved_until:
            self._reserve()
        elif self._reserved_until - self._next_seq == SEQ_BLOCK // 2:
            self._next_block = self._ask_for_block()
        event = Event(self._next_seq, self._thread_id, name, now(), data)
        self._next_seq += 1
        if name in UNSTORED:
            self._after_earlier(event)
            return
        row = {
            "thread_id": self._thread_id,
            "seq": event.seq,
            "at": event.at,
            "name": name,
            "data": json.dumps(data, ensure_ascii=False),
            "step": self.step,
        }
        self._follow(self._store.execute(insert(events), row, done=lambda: self._show(event)))

    def record_step(
        self, checkpoint_id: str, node: str, what: str, tokens: int | None = None, usd: float | None = None
    ) -> None:
        """Give the checkpoint that a node just wrote its number."""
        self.step += 1
        self.last_checkpoint_id = checkpoint_id
        row = {
            "thread_id": self._thread_id,
            "step": self.step,
            "checkpoint_id": checkpoint_id,
            "node": node,
            "at": now(),
            "what": what,
            "tokens": tokens,
            "usd": usd,
        }
        self._follow(self._store.execute(insert(steps), row))

    def update_thread(self, **values: Any) -> None:
        """Change the thread's row, in order with the events."""
        statement = update(threads).where(threads.c.id == self._thread_id).values(updated_at=now(), **values)
        self._follow(self._store.execute(statement))

    def begin_turn(self, title: str, approval_mode: str) -> None:
        """Count a user turn and keep the mode it runs in; the first one gives the thread its title."""
        kept = case((threads.c.title == "", title), else_=threads.c.title)
        self.update_thread(
            turn_count=threads.c.turn_count + 1, iterations_base=0, title=kept, approval_mode=approval_mode
        )

    async def flush(self) -> None:
        """Wait until everything emitted so far is stored; raises what storing it raised."""
        if self._last is not None and not self._last.done():
            with contextlib.suppress(Exception):  # raised below, with those of all before it
                await asyncio.wrap_future(self._last)
        if self._failure is not None:
            raise self._failure

    async def drain(self) -> None:
        """Wait until everything emitted so far is stored and shown."""
        await self.flush()
        await asyncio.sleep(0)

    def _follow(self, stored: Future[Any]) -> None:
        self._last = stored
        stored.add_done_callback(self._keep_failure)

    def _keep_failure(self, stored: Future[Any]) -> None:
        """One lost event ends the run, also when those after it could be stored again."""
        self._failure = self._failure or stored.exception()

    def _show(self, event: Event) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens any more
            self._loop.call_soon_threadsafe(self._listener, event)

    def _after_earlier(self, event: Event) -> None:
        """Show an unstored event no sooner than the stored ones before it."""
        if self._last is None or self._last.done():
            self._loop.call_soon(self._listener, event)
        else:
            self._last.add_done_callback(lambda _: self._show(event))

    def _reserve(self) -> None:
        """Go on in the next block; it was asked for long before, so this hardly ever waits."""
        self._next_seq = (self._next_block or self._ask_for_block()).result()
        self._next_block = None
        self._reserved_until = self._next_seq + SEQ_BLOCK

    def _ask_for_block(self) -> Future[int]:
        row = threads.c.id == self._thread_id

        def reserve(connection: Connection) -> int:
            first: int = connection.execute(select(threads.c.next_seq).where(row)).scalar_one()
            connection.execute(update(threads).where(row).values(next_seq=first + SEQ_BLOCK))
            return first

        return self._store.submit(reserve)

    def _newest_step(self, connection: Connection) -> tuple[int, str | None]:
        mine = steps.c.thread_id == self._thread_id
        newest = connection.execute(select(func.max(steps.c.step)).where(mine)).scalar()
        if newest is None:
            return 0, None
        row = connection.execute(
            select(steps.c.checkpoint_id).where(mine, steps.c.step == newest)
        ).scalar_one()
        return newest, row
