"""Answer a waiting approval from another terminal, or after a reboot."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from ..configs.home import ml_intern_home
from ..errors import UsageError, UserError
from ..threads import lease, listing
from ..threads.opening import open_store

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .run import Output


def approve(
    environ: Mapping[str, str], thread: str, *, yes: bool | None, feedback: str, output: Output
) -> int:
    """Show the waiting calls, take the answer, and see that the thread goes on.

    A live process that holds the thread gets the answer; else the turn is finished here.

    Raises:
        UserError: Nothing waits, or the question was answered in the meantime.
        UsageError: No answer was given and nobody can be asked.
    """
    home = ml_intern_home(environ)
    store = open_store(home)
    try:
        thread_id = listing.resolve_id(store, thread)
        waiting = listing.waiting_approval(store, thread_id)
        if waiting is not None and waiting["answer"]:
            raise UserError(
                f"The approval of {thread_id} was answered before; go on with ml-intern -r {thread_id}."
            )
        if waiting is None:
            raise UserError(
                f"Thread {thread_id} waits for no approval; see `ml-intern threads show {thread_id}`."
            )
        show(waiting["payload"])
        answer = _answer(waiting, _asked() if yes is None else yes, feedback)
        holder = lease.holder(home, thread_id)
        if holder:
            listing.leave_answer(store, thread_id, answer)
            print(f"Answered; {holder} goes on with it.", file=sys.stderr)  # noqa: T201 - the command's answer
            return 0
    finally:
        store.close()
    from .run import Request, run  # noqa: PLC0415 - half a second that the live case need not pay

    return run(Request(resume=thread_id, output=output, answer=answer, approve="ask"), environ)


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
