"""Open a thread: take its lease, its stores and its graph, and heal what a crash left."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ..configs.home import prepare_home
from ..errors import UserError
from . import listing
from .lease import take
from .leftovers import end_leftovers
from .store import DATABASE_NAME, Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from langchain_core.runnables import RunnableConfig

    from ..configs.settings import Loaded
    from ..events import Event
    from ..graphs.state import Completer
    from .lease import Lease
    from .session import Session


@dataclass(frozen=True, slots=True)
class Opening:
    """How a thread is to be opened."""

    thread_id: str
    cwd: Path
    loaded: Loaded
    model_id: str
    create: bool = False
    """Make the thread when there is none of that id."""
    approval_mode: Literal["auto", "ask", "deny"] = "auto"
    mode_given: bool = False
    """`approval_mode` was asked for on this very command line: it holds for a turn under way, too."""
    headless: bool = True
    stream: bool = True
    model: Completer | None = None
    """Another model than the one `model_id` names, e.g. a recorded one."""


def open_store(home: Path) -> Store:
    """The database under `home`, made with its directory when missing."""
    return Store(prepare_home(home) / DATABASE_NAME)


async def open_session(
    home: Path, store: Store, opening: Opening, listener: Callable[[Event], None]
) -> Session:
    """Open the thread for this process alone.

    Raises:
        ThreadHeld: Another process has it.
        UserError: The model cannot be used, or the database cannot be written.
    """
    lease = take(home, opening.thread_id)
    try:
        return await _open(home, store, opening, listener, lease)
    except BaseException:
        lease.release()
        raise


async def _open(
    home: Path, store: Store, opening: Opening, listener: Callable[[Event], None], lease: Lease
) -> Session:
    # LangGraph costs half a second to import; `threads list` and `--help` never come here.
    from ..graphs.agent import build_agent  # noqa: PLC0415
    from .budget import Ledger  # noqa: PLC0415
    from .checkpointer import open_saver  # noqa: PLC0415
    from .context import Parts, build_context, client_for, tools_for, write_system_prompt  # noqa: PLC0415
    from .effects import EffectLog  # noqa: PLC0415
    from .heal import heal_steps  # noqa: PLC0415
    from .journal import Journal  # noqa: PLC0415
    from .session import Session  # noqa: PLC0415
    from .settle import unanswered_calls  # noqa: PLC0415

    model = opening.model or client_for(opening)
    tools = tools_for(opening)
    row = listing.thread_row(store, opening.thread_id)
    if row is None:
        if not opening.create:
            raise UserError(f"No thread {opening.thread_id!r}; see `ml-intern threads list`.")
        prompt = write_system_prompt(opening, tools.names)
        listing.create_thread(
            store, opening.thread_id, cwd=str(opening.cwd), model=opening.model_id, system_prompt=prompt
        )
        row = listing.thread_row(store, opening.thread_id) or {}
    run_no = listing.begin_run(store, opening.thread_id)
    store.fence(opening.thread_id, run_no)
    asked = opening.loaded.settings.max_cost
    max_cost_usd = asked if asked is not None else row["max_cost_usd"]
    saver = await open_saver(store.path, opening.thread_id, run_no)
    try:
        journal = Journal(store, opening.thread_id, listener)
        effect_log = EffectLog(store, opening.thread_id, run_no)
        ledger = Ledger(store, opening.thread_id, opening.model_id, max_cost_usd, row)
        saver.journal, saver.effect_log, saver.ledger = journal, effect_log, ledger
        graph = build_agent(saver)
        config: RunnableConfig = {"configurable": {"thread_id": opening.thread_id}}
        state = await graph.aget_state(config)
        if state.created_at is None:
            # Every thread is born with an empty root, where undoing its first turn leads to.
            await graph.aupdate_state(config, None, as_node="__end__")
            state = await graph.aget_state(config)
        await heal_steps(saver, journal, opening.thread_id)
        history = state.values.get("history", [])
        # A command that only reads has no row of its own, but may run for hours all the same.
        running = effect_log.open_calls() | (unanswered_calls(history) - effect_log.finished_calls())
        await asyncio.to_thread(end_leftovers, home, opening.thread_id, running)
        parts = Parts(home, model, tools, journal, effect_log, ledger, history, row)
        context = build_context(opening, parts)
        journal.update_thread(model=opening.model_id, max_cost_usd=max_cost_usd)
        await journal.flush()
    except BaseException:
        await saver.conn.close()
        raise
    return Session(
        opening.thread_id, store, saver, journal, effect_log, ledger, lease, graph, context, row["status"],
        turn_mode=opening.approval_mode if opening.mode_given else row["approval_mode"],
        standing=(saver.write_count, state),
    )  # fmt: skip
