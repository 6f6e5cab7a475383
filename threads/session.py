"""One thread, open in this process: takes prompts, goes on after a stop, answers approvals."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from typing import TYPE_CHECKING, Any

from langgraph.types import Command, Overwrite

from ..errors import ModelError, UserError
from ..events import CLOSING
from ..graphs.agent import NO_RECURSION_LIMIT
from ..graphs.state import new_turn, new_window
from ..nodes._entries import final_response, user_entry
from ..nodes._shrink import total_tokens
from ..nodes.compact import make_room
from . import listing, questions
from .settle import settle, unfinished_nodes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.runnables import RunnableConfig
    from langgraph.types import StateSnapshot

    from ..events import EventName
    from ..graphs.agent import AgentGraph
    from ..graphs.state import AgentContext, ApprovalMode, Entry
    from .budget import Ledger
    from .checkpointer import JournalingSaver
    from .effects import EffectLog
    from .journal import Journal
    from .lease import Lease
    from .store import Store

ANSWER_POLL_S = 0.4
"""How often a live process looks for an answer that another terminal left."""


@dataclasses.dataclass
class Session:
    """Everything that belongs to one open thread. Made by `opening.open_session`."""

    thread_id: str
    store: Store
    saver: JournalingSaver
    journal: Journal
    effect_log: EffectLog
    ledger: Ledger
    lease: Lease
    graph: AgentGraph
    context: AgentContext
    status: str
    """Status of the thread; `running` when it is opened means that a crash ended it."""
    standing: tuple[int, StateSnapshot | None] = (-1, None)
    """The newest checkpoint as last read, after how many writes of the saver."""
    turn_mode: ApprovalMode | None = None
    """Approval mode of the turn under way; None: that of this run."""
    _task: asyncio.Task[Any] | None = None
    _beginning: bool = False
    _interrupt_reason: str | None = None

    @property
    def config(self) -> RunnableConfig:
        """Where the thread stands, for LangGraph."""
        return {"configurable": {"thread_id": self.thread_id}, "recursion_limit": NO_RECURSION_LIMIT}

    @property
    def is_running(self) -> bool:
        """Whether a turn runs right now, from the moment its prompt is taken."""
        return self._task is not None or self._beginning

    async def _standing(self) -> StateSnapshot:
        """Where the graph stands; read once between two writes, since a long history takes its time."""
        read_at, snapshot = self.standing
        if read_at != self.saver.write_count or snapshot is None:
            read_at = self.saver.write_count
            snapshot = await self.graph.aget_state(self.config)
            self.standing = (read_at, snapshot)
        return snapshot

    async def state(self) -> dict[str, Any]:
        """The values of the newest checkpoint."""
        return (await self._standing()).values

    async def is_unfinished(self) -> bool:
        """Whether a turn is under way: interrupted, crashed, failed, waiting, or not even begun."""
        snapshot = await self._standing()
        return bool(unfinished_nodes(snapshot)) or await self._lost_prompt(snapshot.values) is not None

    async def waiting(self) -> dict[str, Any] | None:
        """The approval this thread waits for, or None."""
        snapshot = await self._standing()
        return await questions.waiting_question(self.store, self.thread_id, snapshot)

    async def take(self, prompt: str) -> None:
        """Run a user turn to its end; what was half done before is settled first."""
        self._beginning = True
        try:
            await self._settle("abandoned")
            entry = user_entry(prompt)
            self.turn_mode = None
            self.journal.begin_turn(listing.title_of(prompt), self.context.approval_mode)
            self.journal.emit("user_message", {"text": prompt, "entry_id": entry["id"]})
            await self._begin(entry)
        finally:
            self._beginning = False

    async def _begin(self, entry: Entry) -> None:
        """Put what the person said into the graph and run it."""
        self._limit_from(0)
        values = (await self._standing()).values
        await self._drive(
            {
                "history": [entry],
                "turn": new_turn(),
                "window": values.get("window") or new_window(),
                "stop": None,
                "guard": None,
                "refused": False,
            }
        )

    async def go_on(self, *, fresh_count: bool) -> None:
        """Finish the turn that is under way, or take up one that a limit ended.

        Nothing to finish: the last answer closes the operation again.

        Args:
            fresh_count: Count the iterations anew, as `-r` does and `approve` does not.
        """
        snapshot = await self._standing()
        values = snapshot.values
        if fresh_count and values.get("turn"):
            base = values["turn"]["iterations"]
            self.journal.update_thread(iterations_base=base)
            self._limit_from(base)
        lost = await self._lost_prompt(values)
        if lost:
            await self._begin(lost)
        elif unfinished_nodes(snapshot):
            waiting = await self.waiting()
            if waiting and waiting["answer"]:
                await self.answer(waiting["answer"])
            elif waiting:
                # Only a person answers what was asked earlier, whatever this run would do by itself.
                self.wait_again(waiting["payload"])
                await self.journal.drain()
            else:
                await self._drive(None)
        elif values.get("stop") not in (None, "answer"):
            await self._drive({"stop": None, "guard": None, "refused": False})
        elif not values.get("history"):
            # The run that made the thread was killed before it had stored its prompt.
            text = f"Thread {self.thread_id} was not asked anything yet; give a prompt."
            self._close("error", {"error": text}, status="idle")
            await self.journal.drain()
        else:
            self._close("turn_complete", self._completed(values), status="idle")
            await self.journal.drain()

    async def answer(self, answer: dict[str, Any]) -> None:
        """Resume the waiting approval with `{payload_hash, decisions: {call id: {approved, feedback}}}`.

        Raises:
            UserError: Nothing waits, or another question than the one that was answered.
        """
        waiting = await self.waiting()
        if waiting is None or waiting["payload_hash"] != answer["payload_hash"]:
            raise UserError("This answers another question than the one that waits; nothing was run.")
        self.context = dataclasses.replace(self.context, answered_hash=answer["payload_hash"])
        await questions.keep_answer(self.store, self.thread_id, answer)
        self.journal.emit("approval_answered", answer)
        await self._drive(Command(resume=answer), answered=answer["payload_hash"])

    async def answer_from_outside(self) -> dict[str, Any]:
        """Wait until another terminal leaves an answer."""
        while True:
            waiting = await asyncio.to_thread(listing.waiting_approval, self.store, self.thread_id)
            if waiting and waiting["answer"]:
                return dict(waiting["answer"])
            await asyncio.sleep(ANSWER_POLL_S)

    def interrupt(self, reason: str) -> None:
        """Stop the running turn at once, or the next one to start; finished results are kept."""
        self._interrupt_reason = reason
        if self._task:
            self._task.cancel()

    def wait_again(self, payload: dict[str, Any]) -> None:
        """Say once more what the thread waits for."""
        self._close("approval_required", payload, status="waiting")

    async def fail(self, text: str) -> None:
        """Close the operation with an error of the person's."""
        self._close("error", {"error": text}, status=self.status if self.status != "running" else "error")
        await self.journal.drain()

    def last_text(self, values: Mapping[str, Any]) -> str | None:
        """The newest final answer there is, for runs that did not end with one."""
        return final_response(values.get("history", []))

    async def compact(self) -> None:
        """Shrink the history by hand, below what the automatic gate would."""
        if await self.is_unfinished():
            raise UserError("The thread is in the middle of a turn; finish it with -r before compacting.")
        values = (await self._standing()).values
        history = values.get("history", [])
        before = total_tokens(history)
        room = await make_room(history, before // 2, self.context)
        after = total_tokens(room)
        if after < before:
            self.saver.settling_node = "compact"
            update = {
                "history": Overwrite(room),
                "reply": "answer",
                "window": new_window(values.get("window")),
            }
            try:
                await self.graph.aupdate_state(self.config, update, as_node="llm_call")
            finally:
                self.saver.settling_node = None
        self.journal.emit("compacted", {"old_tokens": before, "new_tokens": min(before, after)})
        await self.journal.drain()

    async def close(self) -> None:
        """Store what is queued, close both connections, let the thread go."""
        async with contextlib.AsyncExitStack() as parts:
            parts.callback(self.lease.release)
            parts.callback(self.store.close)
            parts.push_async_callback(self.saver.conn.close)
            parts.push_async_callback(self.context.model.close)
            await self.journal.drain()

    async def _lost_prompt(self, values: Mapping[str, Any]) -> Entry | None:
        """What the person said last, if a crash or an interrupt came before the graph had it.

        Once the graph has it a step follows, also when the turn is undone later.
        """
        said = await asyncio.to_thread(
            listing.last_event, self.store, self.thread_id, ["user_message", "undo_complete"]
        )
        if said is None or said["name"] != "user_message" or said["step"] != self.journal.step:
            return None
        if any(entry["id"] == said["data"]["entry_id"] for entry in values.get("history", [])):
            return None
        return {**user_entry(said["data"]["text"]), "id": said["data"]["entry_id"]}

    async def _drive(self, graph_input: Any, answered: str | None = None) -> None:
        """Run the graph until it ends, waits, fails or is interrupted; emits exactly one closing event."""
        self.status = "running"
        self.journal.update_thread(status="running")
        self.journal.emit("processing", {"message": "working"})
        # Going on must never widen what a turn was started under.
        context = dataclasses.replace(
            self.context, approval_mode=self.turn_mode or self.context.approval_mode
        )
        self._task = asyncio.create_task(self._stream(graph_input, context, answered))
        if self._interrupt_reason:
            self._task.cancel()
        try:
            payload = await self._task
        except asyncio.CancelledError:
            if not self._interrupt_reason:
                raise
            await self._interrupted()
        except ModelError as error:
            self._close("error", {"error": str(error)}, status="error")
        else:
            if payload is None:
                self._ended(await self.state())
            else:
                await self._wait_for(payload)
        finally:
            self._task = None
            self._interrupt_reason = None
        await self.journal.drain()

    async def _stream(
        self, graph_input: Any, context: AgentContext, answered: str | None
    ) -> dict[str, Any] | None:
        """Run the graph; returns the payload of the approval it suspended on, if any."""
        payload: dict[str, Any] | None = None
        async for update_ in self.graph.astream(
            graph_input, self.config, context=context, stream_mode="updates", durability="sync"
        ):
            if "__interrupt__" in update_:
                payload = update_["__interrupt__"][0].value
            elif answered and "approval_interrupt" in update_:
                questions.settle_others(self.store, self.thread_id, None)
                answered = None
        return payload

    def _ended(self, values: Mapping[str, Any]) -> None:
        stop = values.get("stop")
        if stop == "answer":
            self._close("turn_complete", self._completed(values), status="idle")
        elif stop == "context":
            text = "Nothing is left to shrink and the request still exceeds the window; try another model."
            self._close("error", {"error": text}, status="error")
        else:
            self._close("limit_reached", self._limit(str(stop)), status="limit")

    def _limit(self, kind: str) -> dict[str, Any]:
        if kind == "cost":
            cap = self.ledger.max_cost_usd
            text = f"{self.ledger.exhausted()}; go on with: ml-intern -r {self.thread_id} --max-cost HIGHER"
            return {"kind": kind, "limit": cap, "message": text}
        if kind == "repetition":
            return {
                "kind": kind,
                "limit": None,
                "message": "the model kept repeating the same calls; "
                f"go on with: ml-intern -r {self.thread_id}",
            }
        limit = self.context.limits.max_iterations
        text = f"{limit} model calls were made; go on with: ml-intern -r {self.thread_id}"
        return {"kind": kind, "limit": limit, "message": text}

    def _completed(self, values: Mapping[str, Any]) -> dict[str, Any]:
        history = values.get("history", [])
        turn = values.get("turn")
        return {
            "final_response": final_response(history),
            "history_size": len(history),
            "iterations": turn["iterations"] if turn else 0,
        }

    async def _interrupted(self) -> None:
        """Settle what was half done and say so; the thread can go on from here at once."""
        reason = self._interrupt_reason or "interrupted"
        snapshot = await self._standing()
        if "tool_exec" in unfinished_nodes(snapshot):
            await self._settle("cancelled")
        self._close("interrupted", {"reason": reason}, status="interrupted")

    async def _settle(self, why: str) -> None:
        await settle(
            self.graph,
            self.config,
            saver=self.saver,
            effect_log=self.effect_log,
            blobs=self.context.blobs,
            emit=self.journal.emit,
            why=why,
            state=await self._standing(),
        )
        if why == "abandoned":
            questions.settle_others(self.store, self.thread_id, None)

    async def _wait_for(self, payload: dict[str, Any]) -> None:
        """Keep the question where other terminals find it, and close the operation with it."""
        await questions.keep(self.store, self.thread_id, payload)
        self._close("approval_required", payload, status="waiting")

    def _limit_from(self, base: int) -> None:
        limits = dataclasses.replace(self.context.limits, iterations_base=base)
        self.context = dataclasses.replace(self.context, limits=limits)

    def _close(self, name: EventName, data: dict[str, Any], *, status: str) -> None:
        assert name in CLOSING
        self.status = status
        self.journal.update_thread(status=status)
        self.journal.emit(name, data)
