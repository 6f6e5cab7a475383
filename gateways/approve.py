"""Answer a waiting approval from another terminal, or after a reboot."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from typing import TYPE_CHECKING, Any

from ..configs.home import ml_intern_home
from ..errors import MlInternError, UsageError, UserError
from ..threads import lease, listing
from ..threads.opening import open_store
from .headless import JsonSink, StreamJsonSink
from .outcome import Outcome
from .redaction import secret_values

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ..threads.store import Store
    from .request import Output


WATCH_S = 2.0
"""How long a process that holds the thread is watched: it may take the answer, or be just ending."""
LOOK_EVERY_S = 0.05


def approve(
    environ: Mapping[str, str], thread: str, *, yes: bool | None, feedback: str, output: Output
) -> int:
    """Show the waiting calls, take the answer, and see that the thread goes on.

    A live process that holds the thread gets the answer; else the turn is finished here, also with an
    answer that was given before and that nobody took.

    Raises:
        UserError: Nothing waits, or it was answered otherwise before.
        UsageError: No answer was given and nobody can be asked.
    """
    home = ml_intern_home(environ)
    thread_id = None
    try:
        with contextlib.closing(open_store(home)) as store:
            thread_id = listing.resolve_id(store, thread)
            waiting = listing.waiting_approval(store, thread_id)
            if waiting is None:
                raise UserError(
                    f"Thread {thread_id} waits for no approval; see `ml-intern threads show {thread_id}`."
                )
            answer = _decided(waiting, yes, feedback)
            holder = _handed_over(home, store, waiting, answer)
    except UsageError:
        raise
    except MlInternError as error:
        _print(Outcome("error", thread_id, error=str(error)), output, environ)
        raise
    if holder:
        print(f"Answered; {holder} goes on with it.", file=sys.stderr)  # noqa: T201 - the command's answer
        _print(Outcome("done", thread_id), output, environ)
        return 0
    from .request import Request  # noqa: PLC0415 - half a second that the live case need not pay
    from .run import run  # noqa: PLC0415 - as above

    return run(Request(resume=thread_id, output=output, answer=answer, approve="ask"), environ)


def _decided(waiting: Mapping[str, Any], yes: bool | None, feedback: str) -> dict[str, Any]:
    """The answer: the one given before if there is any, else the person's.

    Raises:
        UserError: The one given before is another.
    """
    earlier: dict[str, Any] | None = waiting["answer"]
    if earlier is None:
        show(waiting["payload"])
        return _answer(waiting, _asked() if yes is None else yes, feedback)
    decisions = earlier.get("decisions") or {}
    for call in waiting["payload"]["tools"]:
        decision = decisions.get(call["tool_call_id"]) or {}
        approved = decision.get("approved") is True
        other = yes is not None and yes != approved
        if other or (feedback and feedback != decision.get("feedback")):
            raise UserError(
                f"The approval of {waiting['thread_id']} was answered otherwise before "
                f"({'yes' if approved else 'no'} to {call['tool']}); "
                f"finish it with: ml-intern approve {waiting['thread_id']}"
            )
    return earlier


def _handed_over(home: Path, store: Store, waiting: Mapping[str, Any], answer: dict[str, Any]) -> str | None:
    """Leave the answer to whoever holds the thread; None when nobody does who takes it.

    A run that ends after its question holds the thread for a moment longer and looks for no answer.
    """
    thread_id = waiting["thread_id"]
    holder = found = lease.holder(home, thread_id)
    if holder and waiting["answer"] is None:
        listing.leave_answer(store, thread_id, answer)
    until = time.monotonic() + WATCH_S
    while holder and _waits(store, waiting) and time.monotonic() < until:
        time.sleep(LOOK_EVERY_S)
        holder = lease.holder(home, thread_id)
    return holder or (None if _waits(store, waiting) else found)


def _waits(store: Store, asked: Mapping[str, Any]) -> bool:
    """Whether this very question is still open."""
    waiting = listing.waiting_approval(store, asked["thread_id"])
    return waiting is not None and waiting["payload_hash"] == asked["payload_hash"]


def _print(outcome: Outcome, output: Output, environ: Mapping[str, str]) -> None:
    """Give programs their object for what ended before there was a run; people read the line."""
    secrets = secret_values(environ)
    if output == "json":
        JsonSink(sys.stdout, secrets=secrets).close(outcome)
    elif output == "stream-json":
        StreamJsonSink(sys.stdout, secrets=secrets).close(outcome)


def show(payload: Mapping[str, Any]) -> None:
    """Print the waiting calls with their full arguments to standard error."""
    for call in payload["tools"]:
        print(f"{call['tool']}: {call['reason']}", file=sys.stderr)  # noqa: T201 - a question to the person
        for name, value in call["arguments"].items():
            text = value if isinstance(value, str) else json.dumps(value)
            print(f"  {name}: {text}", file=sys.stderr)  # noqa: T201 - a question to the person


def _asked() -> bool:
    if not sys.stdin.isatty():
        raise UsageError("Nobody can be asked here: give --yes or --no.")
    print("Run this? [y/N] ", end="", file=sys.stderr, flush=True)  # noqa: T201 - a question to the person
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _answer(waiting: Mapping[str, Any], yes: bool, feedback: str) -> dict[str, Any]:
    decisions = {
        call["tool_call_id"]: {"approved": yes, "feedback": feedback} for call in waiting["payload"]["tools"]
    }
    return {"payload_hash": waiting["payload_hash"], "decisions": decisions}
