"""The graph for LangGraph's own dev server and Studio, which bring threads and checkpoints of their own.

`langgraph.json` names `agent`. A run takes `{"prompt": "…"}`. What the nodes use of the world is made
here from the settings of the directory the server runs in; events go to the stream (`stream_mode=custom`)
and, with effects and spend, into a database of their own under `ML_INTERN_HOME/studio`.
"""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import functools
import os
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from langchain_core.runnables import RunnableConfig  # noqa: TC002 - the server reads the annotation
from langgraph.graph import StateGraph
from langgraph.runtime import Runtime  # noqa: TC002 - LangGraph reads the annotation
from typing_extensions import TypedDict  # pydantic takes no other on Python 3.11

from ..configs.home import ml_intern_home, prepare_home
from ..configs.models import choose_model
from ..configs.settings import load_settings
from ..errors import UserError
from ..graphs.agent import wire
from ..graphs.state import AgentState, AgentUpdate, Gate, new_turn, new_window
from ..nodes._entries import user_entry
from ..nodes.compact import compact
from . import listing
from .budget import Ledger
from .context import Parts, build_context, client_for, tools_for, write_system_prompt
from .effects import EffectLog
from .journal import Journal
from .opening import Opening, open_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from ..events import Event
    from ..graphs.agent import Builder
    from ..graphs.state import AgentContext, Entry
    from .store import Store


class Question(TypedDict):
    """Input of a run."""

    prompt: str
    """What the person asks."""


class StudioState(AgentState, total=False):
    """The state of a thread, and what was just asked in it."""

    prompt: str | None


class StudioUpdate(AgentUpdate, total=False):
    """What the first node returns: the prompt is taken."""

    prompt: str | None


@asynccontextmanager
async def agent(config: RunnableConfig) -> AsyncIterator[Builder]:
    """The graph of one run of one thread; without a thread to run, the graph as a picture.

    Args:
        config: What the server knows; `configurable` holds the `thread_id`, and may hold a `model` id.

    Raises:
        UserError: No model can be used, or the database cannot be written.
    """
    known = config.get("configurable") or {}
    if not known.get("thread_id") or not known.get("__is_for_execution__", True):
        yield wire(_empty())
        return
    world = await asyncio.to_thread(_World, str(known["thread_id"]), known.get("model"), os.environ)
    try:
        yield wire(_empty(), functools.partial(_inside, world))
    finally:
        await world.close()


def _empty() -> Builder:
    return StateGraph(StudioState, input_schema=Question)


class _World:
    """What a run's nodes use, made when the first of them starts."""

    def __init__(self, thread_id: str, model_id: str | None, environ: Mapping[str, str]) -> None:
        cwd = Path.cwd()
        loaded = load_settings(environ=environ, cwd=cwd)
        self._home = prepare_home(ml_intern_home(environ)) / "studio"
        self._opening = Opening(
            thread_id=thread_id,
            cwd=cwd,
            loaded=loaded,
            model_id=model_id or choose_model(loaded.settings, loaded.env),
            approval_mode=loaded.settings.approval_mode or "ask",
            headless=False,
            stream=loaded.settings.stream,
        )
        self._model = client_for(self._opening)
        self._max_cost_usd = loaded.settings.max_cost
        if self._max_cost_usd is not None and self._model.price is None:
            raise UserError(
                f"The price of {self._opening.model_id} is unknown, so max_cost cannot be held: "
                "set it in price_overrides, or take max_cost out of the settings."
            )
        self._tools = tools_for(self._opening)
        self._store = open_store(self._home)
        self._run_no = self._begin(self._store)
        self._making = asyncio.Lock()
        self._context: AgentContext | None = None
        self.journal: Journal | None = None
        self._stream: tuple[contextvars.Context, Callable[[Any], None]] | None = None

    def show_in(self, write: Callable[[Any], None]) -> None:
        """Let events go where the node that calls this may write; all nodes of a run share one stream."""
        self._stream = contextvars.copy_context(), write

    async def context(self, history: list[Entry]) -> AgentContext:
        """The context of this run; `history` counts at the first call only."""
        async with self._making:
            if self._context is None:
                self._context = await self._make(history)
        return self._context

    async def close(self) -> None:
        """Let go of the model's connections and the database."""
        await self._model.close()
        await asyncio.to_thread(self._store.close)

    def _begin(self, store: Store) -> int:
        if listing.thread_row(store, self._opening.thread_id) is None:
            prompt = write_system_prompt(self._opening, self._tools.names)
            listing.create_thread(
                store,
                self._opening.thread_id,
                cwd=str(self._opening.cwd),
                model=self._opening.model_id,
                system_prompt=prompt,
            )
        return listing.begin_run(store, self._opening.thread_id)

    async def _make(self, history: list[Entry]) -> AgentContext:
        thread_id, store = self._opening.thread_id, self._store
        row = await asyncio.to_thread(listing.thread_row, store, thread_id) or {}
        effect_log = await asyncio.to_thread(EffectLog, store, thread_id, self._run_no)
        self.journal = Journal(store, thread_id, self._show)
        ledger = Ledger(store, thread_id, self._opening.model_id, self._max_cost_usd, row)
        parts = Parts(self._home, self._model, self._tools, self.journal, effect_log, ledger, history, row)
        context = await asyncio.to_thread(build_context, self._opening, parts)
        # A run that goes on in the middle of a batch starts with a node that is not given the history.
        outputs = await asyncio.to_thread(listing.event_rows, store, thread_id, ["tool_output"])
        done = {row["data"]["tool_call_id"] for row in outputs}
        return dataclasses.replace(context, gate=Gate([*done]), known_call_ids=context.known_call_ids | done)

    def _show(self, event: Event) -> None:
        if self._stream:
            variables, write = self._stream
            variables.run(write, event.as_dict())


def _inside(world: _World, node: Any, /) -> Any:
    """The node with its context, and with its events in the stream before the server goes on."""

    @functools.wraps(node)
    async def inside(state: Any, runtime: Runtime[Any]) -> AgentUpdate:
        world.show_in(runtime.stream_writer)
        context = await world.context(state.get("history", []))
        try:
            update: AgentUpdate = await node(state, runtime.override(context=context))
        finally:
            if world.journal:
                await world.journal.drain()
        return update

    return _taking_prompts(world, inside) if node is compact else inside


def _taking_prompts(world: _World, first: Callable[..., Awaitable[AgentUpdate]]) -> Any:
    """The first node of a turn, which also lets what was asked into the history."""

    async def take_prompt(state: StudioState, runtime: Runtime[Any]) -> StudioUpdate:
        prompt = (state.get("prompt") or "").strip()
        if not prompt and "turn" not in state:
            raise UserError('Nothing was asked: the input of a run is {"prompt": "…"}.')
        if not prompt:
            return cast("StudioUpdate", await first(state, runtime))
        history, entry = state.get("history", []), user_entry(prompt)
        asked: AgentUpdate = {
            "turn": new_turn(),
            "window": state.get("window") or new_window(),
            "stop": None,
            "guard": None,
            "refused": False,
        }
        context = await world.context(history)
        context.emit("user_message", {"text": prompt, "entry_id": entry["id"]})
        update = await first({**state, **asked, "history": [*history, entry]}, runtime)
        return {"history": [entry], **asked, **update, "prompt": None}

    return take_prompt
