"""One headless invocation from the thread it means to the exit code it earns."""

from __future__ import annotations

import asyncio
import io
import signal
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..configs.home import ml_intern_home
from ..errors import MlInternError, TakenOver, UsageError, UserError
from ..events import CLOSING
from ..llm.routes import resolve
from ..threads import listing
from ..threads.model_settings import model_settings
from ..threads.opening import open_session, open_store
from .crash import report
from .headless import JsonSink, StreamJsonSink, TextSink
from .outcome import EXIT_CODES, Outcome, Status, gravest
from .private_memory import keep_memory_private
from .redaction import redact, secret_values
from .request import Request, opening_for
from .streams import Writer, without_controls

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..configs.settings import Loaded
    from ..events import Event
    from ..threads.session import Session
    from ..threads.store import Store
    from .headless import Sink


_STATUS: dict[str, Status] = {
    "turn_complete": "done",
    "limit_reached": "limit",
    "interrupted": "interrupted",
    "error": "error",
    "approval_required": "waiting",
    "shutdown": "done",
}
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(request: Request, environ: Mapping[str, str], sink: Sink | None = None) -> int:
    """Do what was asked and show it; returns the exit code. Errors of the person never raise.

    Args:
        request: What the command line asks for.
        environ: Environment of the process.
        sink: Where events go; None: what `request.output` names.
    """
    keep_memory_private()
    sink = sink or _sink(request, environ)
    watcher = _Watcher(sink)
    try:
        if request.prompt == "-":
            request = replace(request, prompt=_from_stdin())
        outcome = asyncio.run(_run(request, environ, watcher))
    except UsageError:
        raise
    except MlInternError as error:
        outcome = watcher.failed(str(error))
    except (asyncio.CancelledError, KeyboardInterrupt):
        outcome = Outcome("interrupted", watcher.thread_id, error=watcher.signal_name or "by a signal")
    except Exception as error:  # noqa: BLE001 - the process boundary: a bug, too, owes `-o json` its object
        outcome = watcher.failed(report(error, environ))
    sink.close(outcome)
    if outcome.status == "error" and request.output != "text":
        line = redact(f"Error: {outcome.error}\n", secret_values(environ))
        Writer(sys.stderr).write(without_controls(line))
    # A signal that came when all was done has interrupted nothing.
    stopped = watcher.signal_name is not None and outcome.status != "done"
    return gravest(outcome.exit_code, *([EXIT_CODES["interrupted"]] if stopped else []))


def _from_stdin() -> str:
    text = sys.stdin.buffer.read().decode("utf-8", errors="replace")
    if not text.strip():
        raise UsageError("The prompt on standard input is empty.")
    return text


class _Watcher:
    """Hands events to the sink and remembers how each operation closed."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.closing: Event | None = None
        self.thread_id: str | None = None
        self.signal_name: str | None = None

    def __call__(self, event: Event) -> None:
        if event.name in CLOSING and event.name != "shutdown":
            self.closing = event
        self._sink.event(event)

    def hide(self, secrets: Sequence[str]) -> None:
        """Keep these out of everything shown from now on."""
        self._sink.hide(secrets)

    def failed(self, text: str) -> Outcome:
        """The outcome of a run that an error ended."""
        return Outcome("error", self.thread_id, error=text)


async def _run(request: Request, environ: Mapping[str, str], watcher: _Watcher) -> Outcome:
    loop = asyncio.get_running_loop()
    stop = _Stop(watcher, asyncio.current_task())
    for number in _SIGNALS:
        # What whoever started us chose to ignore (nohup, a background job) stays ignored.
        if signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, stop, number)
    home = ml_intern_home(environ)
    store = open_store(home)
    try:
        opening = opening_for(request, environ, store)
        watcher.hide(secret_values(opening.loaded.env))
        watcher.thread_id = None if opening.create else opening.thread_id
        _warn(opening.loaded, request)
        # A missing key is said before seconds go into imports.
        resolve(opening.model_id, model_settings(opening.loaded.settings, opening.loaded.env))
        if _will_call_model(request, store, opening.thread_id):
            _load_litellm_behind()
        await asyncio.to_thread(_import_graph)
        session = await open_session(home, store, opening, watcher)
    except BaseException:
        store.close()
        raise
    watcher.thread_id, stop.session = session.thread_id, session
    try:
        try:
            await _check_price(session, request)
            await _work(session, request, watcher)
        except TakenOver:
            raise  # nothing may be written any more, not even that
        except UserError as error:
            await session.fail(str(error))
        return await _outcome(session, watcher)
    finally:
        await session.close()


async def _work(session: Session, request: Request, watcher: _Watcher) -> None:
    """Finish what is half done, then take the prompt or the operations from standard input."""
    session.journal.emit(
        "ready",
        {
            "thread_id": session.thread_id,
            "model": session.context.model.model_id,
            "tool_count": len(session.context.tools.names),
            "message": "ready",
        },
    )
    if request.input == "stream-json":
        await _serve(session, request, watcher)
    elif await _finish(session, request, watcher) and request.prompt is not None:
        await session.take(request.prompt)


async def _serve(session: Session, request: Request, watcher: _Watcher) -> None:
    """Finish what is half done, take the prompt if there is one, then operations until they end."""
    from .operations import serve  # noqa: PLC0415 - only this mode reads operations

    going_on = bool(await session.waiting()) or await session.is_unfinished()
    ready = not going_on or await _finish(session, request, watcher)
    if ready and request.prompt is not None:
        await session.take(request.prompt)
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="replace")  # a bad byte spoils its line, not the run
    await serve(session, sys.stdin, stopped=lambda: watcher.signal_name is not None)


async def _finish(session: Session, request: Request, watcher: _Watcher) -> bool:
    """Finish the turn under way; returns whether a prompt may be taken now."""
    waiting = await session.waiting()
    if waiting:
        answer = request.answer or waiting["answer"] or _blanket_answer(waiting, request)
        if answer is None:
            session.wait_again(waiting["payload"])
            await session.journal.drain()
            return False
        await session.answer(answer)
    elif request.prompt is None or await session.is_unfinished():
        await session.go_on(fresh_count=request.resume is not None)
    if watcher.signal_name is not None:
        return False
    return watcher.closing is None or watcher.closing.name == "turn_complete"


def _blanket_answer(waiting: Mapping[str, Any], request: Request) -> dict[str, Any] | None:
    """What `--approve auto|deny` on this very command line says to a question asked earlier."""
    if request.approve not in ("auto", "deny"):
        return None
    decisions = {
        call["tool_call_id"]: {"approved": request.approve == "auto"} for call in waiting["payload"]["tools"]
    }
    return {"payload_hash": waiting["payload_hash"], "decisions": decisions}


async def _outcome(session: Session, watcher: _Watcher) -> Outcome:
    closing = watcher.closing
    if closing is None:
        return Outcome("done", session.thread_id)
    state = await session.state()
    ledger = session.ledger
    data = closing.data
    status = _STATUS[closing.name]
    final: str | None = data.get("final_response")
    if status in ("limit", "error", "interrupted"):
        final = session.last_text(state)
    turn = state.get("turn") or {}
    return Outcome(
        status,
        session.thread_id,
        final_response=final,
        usage=dict(ledger.usage),
        cost_usd=None if ledger.run_unpriced_calls else round(ledger.run_cost_usd, 8),
        unpriced_calls=ledger.run_unpriced_calls,
        iterations=turn.get("iterations", 0),
        approvals=data.get("tools", []) if status == "waiting" else [],
        error=data.get("error") or data.get("message") or data.get("reason"),
    )


class _Stop:
    """What a signal does: end the running turn as interrupted; without one, or again, the process."""

    def __init__(self, watcher: _Watcher, task: asyncio.Task[Any] | None) -> None:
        self._watcher = watcher
        self._task = task
        self.session: Session | None = None

    def __call__(self, number: int) -> None:
        first = self._watcher.signal_name is None
        self._watcher.signal_name = signal.Signals(number).name
        if self.session and self.session.is_running and first:
            self.session.interrupt(self._watcher.signal_name)
        elif self._task:
            self._task.cancel()


def _sink(request: Request, environ: Mapping[str, str]) -> Sink:
    secrets = secret_values(environ)
    if request.output == "json":
        return JsonSink(sys.stdout, secrets=secrets)
    if request.output == "stream-json":
        return StreamJsonSink(sys.stdout, secrets=secrets)
    return TextSink(sys.stdout, sys.stderr, verbosity=request.verbosity, env=environ, secrets=secrets)


def _will_call_model(request: Request, store: Store, thread_id: str) -> bool:
    if request.prompt is not None or request.answer or request.input == "stream-json":
        return True
    row = listing.thread_row(store, thread_id)
    return row is not None and row["status"] not in ("idle", "waiting")


def _load_litellm_behind() -> None:
    """Start the import that takes seconds; the first model call waits for it."""
    import threading  # noqa: PLC0415 - beside its only use

    from ..llm.loading import load_now  # noqa: PLC0415 - kept out of commands that call no model

    threading.Thread(target=load_now, name="load-litellm", daemon=True).start()


def _import_graph() -> None:
    from ..threads import context, session  # noqa: F401, PLC0415 - half a second, off the event loop


def _warn(loaded: Loaded, request: Request) -> None:
    if request.verbosity != "quiet":
        for line in loaded.warnings:
            print(line, file=sys.stderr)  # noqa: T201 - before any sink could


async def _check_price(session: Session, request: Request) -> None:
    """Refuse a cap that cannot be held because nobody knows what a call costs."""
    model = session.context.model
    if model.price is not None:
        return
    capped = session.ledger.max_cost_usd is not None
    if capped and await model.look_up_price():
        return
    if capped:
        raise UserError(
            f"The price of {model.model_id} is unknown, so a cost cap cannot be held: set price_overrides: "
            f'{{"{model.model_id}": {{"input": USD, "output": USD}}}} per million tokens, '
            "or leave --max-cost away."
        )
    if request.verbosity != "quiet":
        print(f"Warning: the price of {model.model_id} is unknown; its cost is not counted.", file=sys.stderr)  # noqa: T201 - before any sink could
