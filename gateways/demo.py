"""`ml-intern demo`: the whole loop on this machine with a scripted model, no key and no network."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Any

from ..configs.home import ml_intern_home, prepare_home
from ..llm.scripted.demo import MODEL_ID, TASK
from ..threads import ids
from .approve import show
from .headless import TextSink
from .progress import progress_lines
from .redaction import secret_values
from .request import Request
from .run import run
from .streams import Writer, is_terminal

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from ..events import Event
    from .outcome import Outcome

SCRATCH = "scratch"
"""Directory in ML_INTERN_HOME whose subdirectories tools may write to (see tools/policy.py)."""
_WAITING = 4
_ENOUGH_ITERATIONS = 50

_INTRO = """\
The model of this demo is scripted: it follows a fixed plan and costs nothing. Everything else is real: the \
graph, the tools, the training runs and their numbers, the approval, the stored steps.

task       {task}
directory  {directory}

"""
_AFTERWARDS = (
    ("history", "history {id}", "every step, with what it did"),
    ("threads", "threads show {id}", "status, cost, plan, files touched"),
    ("undo", "undo {id}", "take the turn back, files included"),
    ("fork", "fork {id} --cwd DIR", "go on from it elsewhere"),
    ("replay", "replay {id}", "run it again on its recorded results"),
    ("graph", "graph {id}", "the graph with this run laid over it"),
    ("trace", "trace {id}", "what happened when"),
    ("run", '-r {id} -m MODEL "now try a small neural network"', "go on with a real model"),
)
"""Command that must exist, what to type, what it shows."""


def demo(environ: Mapping[str, str], commands: Collection[str]) -> int:
    """Play the demo in a thread of its own; returns the exit code.

    Args:
        environ: Environment of the process.
        commands: Names of the commands there are; only these are shown at the end.

    Raises:
        UserError: The home directory cannot be used, or the settings are broken.
    """
    home = prepare_home(ml_intern_home(environ))
    thread_id = ids.new_id()
    directory = _scratch(home, thread_id)
    out = Writer(sys.stdout)
    out.write(_INTRO.format(task=TASK, directory=directory))
    sink = _DemoSink(environ)
    start = Request(
        prompt=TASK,
        model=MODEL_ID,
        thread=thread_id,
        cwd=directory,
        approve="ask",
        max_iterations=_ENOUGH_ITERATIONS,
    )
    code = run(start, environ, sink)
    while code == _WAITING and sink.question:
        # A new opening of the thread: what an answer from another terminal, or after a reboot, would do too.
        answer = _answered(sink.question)
        sink.question = None
        code = run(Request(resume=thread_id, answer=answer, approve="ask"), environ, sink)
    if code == 0:
        out.write(_afterwards(thread_id, commands))
    return code


class _DemoSink(TextSink):
    """Headless text, and besides what the model says between its calls and what the training prints."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(sys.stdout, sys.stderr, env=environ, secrets=secret_values(environ))
        self.question: dict[str, Any] | None = None
        """The approval that waits for an answer."""
        self._opened = False
        self._text = ""

    def event(self, event: Event) -> None:
        """Show one event; text is held back until it is known not to be the final answer."""
        if event.name == "assistant_message":
            self._text = str(event.data.get("content") or "")
            return
        if event.name == "ready" and self._opened:
            return
        self._opened = self._opened or event.name == "ready"
        if event.name in ("tool_call", "approval_required"):
            self._say_text()
        if event.name == "approval_required":
            self.question = event.data
        elif event.data.get("tool") == "plan_tool":
            return  # the plan itself is shown
        elif event.name == "tool_output" and event.data.get("tool") == "bash":
            for line in progress_lines(event, verbose=True):
                self._say(line)
        else:
            super().event(event)

    def close(self, outcome: Outcome) -> None:
        """Write the final answer, or why there is none; a question is asked instead."""
        if outcome.status != "waiting":
            self.out.write("\n")
            super().close(outcome)

    def _say_text(self) -> None:
        for line in self._text.splitlines():
            self._say(f"\n{line}")
        self._text = ""


def _scratch(home: Path, thread_id: str) -> Path:
    parent = home / SCRATCH
    parent.mkdir(mode=0o700, exist_ok=True)
    directory = parent / thread_id
    directory.mkdir(mode=0o700)
    return directory


def _answered(payload: Mapping[str, Any]) -> dict[str, Any]:
    """The person's answer; without a terminal the demo answers yes itself, and says so."""
    err = Writer(sys.stderr)
    err.write("\nThe run is stored and waits for your approval:\n")
    show(payload)
    yes = True
    if is_terminal(sys.stdin):
        err.write("Run this? [Y/n] ")
        yes = sys.stdin.readline().strip().lower() not in ("n", "no")
    else:
        err.write("There is no terminal to ask, so the demo answers yes itself.\n")
    decisions = {call["tool_call_id"]: {"approved": yes, "feedback": ""} for call in payload["tools"]}
    return {"payload_hash": payload["payload_hash"], "decisions": decisions}


def _afterwards(thread_id: str, commands: Collection[str]) -> str:
    shown = [
        (f"ml-intern {typed.format(id=thread_id)}", what)
        for command, typed, what in _AFTERWARDS
        if command in commands
    ]
    width = max(len(typed) for typed, _ in shown)
    lines = [f"  {typed:<{width}}  {what}" for typed, what in shown]
    kill = f"  Kill a run at any instant; `ml-intern -r {shlex.quote(thread_id)}` goes on where it stopped."
    return "\nThe thread is kept. Look at it:\n\n" + "\n".join([*lines, "", kill]) + "\n"
