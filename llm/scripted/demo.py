"""What the scripted model says: a small piece of ML work, told by what the tools really answered.

Each answer follows from the conversation alone. Numbers are read from the results of the training runs; a
run that failed, was refused or was lost in a crash leads to another answer than one that succeeded.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MODEL_ID = "scripted/demo"
TASK = (
    "Train a small classifier here that tells the points of a disc from the ring around it, then make it "
    "better. Report the held-out accuracy of both versions, and delete the weights of the one that lost."
)
"""The prompt of the demo, and the only one the model can follow."""

SCRIPT = Path(__file__).parents[2] / "configs" / "demo" / "train.py.txt"
"""The training program as the model first writes it."""

_PLAN = (
    ("baseline", "Train a linear baseline and measure it"),
    ("improve", "Add squared inputs and measure again"),
    ("report", "Delete the weights that lost, report both numbers"),
)
_PLAIN = 'NAME = "linear"\n\n\ndef features(x, y):\n    return [1.0, x, y]\n'
_SQUARED = 'NAME = "squares"\n\n\ndef features(x, y):\n    return [1.0, x, y, x * x, y * y]\n'
_METRIC = re.compile(r"^test_accuracy=(\d\.\d+)$", re.MULTILINE)
_RUNS = 3
"""Times a version is run before it is given up; a crash may cost one."""
_NOTE = "[note from"
_DELETED = "(no output)"


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: text, and calls as (tool, JSON text of its arguments)."""

    text: str
    calls: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class _Call:
    """One earlier call and what it gave."""

    name: str
    arguments: Mapping[str, Any]
    result: str

    @property
    def command(self) -> str:
        return str(self.arguments.get("command", ""))


def answer(messages: Sequence[Mapping[str, Any]]) -> Answer:
    """The next answer to a conversation in OpenAI's form."""
    asked = max((at for at, message in enumerate(messages) if _is_prompt(message)), default=None)
    if asked is None or _text(messages[asked]).strip() != TASK:
        return Answer(
            "I am the scripted model of the demo and can only play that one task. "
            "To go on with this thread for real, choose a model with -m; `ml-intern models` lists them."
        )
    return _next(_calls(messages[asked + 1 :]))


def _next(calls: Sequence[_Call]) -> Answer:
    """What is missing comes next; the whole play in its order."""
    edited = next((at for at, call in enumerate(calls) if call.name == "edit"), len(calls))
    if not any(call.name == "write" for call in calls):
        text = (
            "I will start with the simplest model that could work, and measure it before I change anything."
        )
        return Answer(text, (_plan(0), _call("write", path="train.py", content=_script())))
    baseline = _measured(calls[:edited])
    if baseline is None:
        return _run(calls[:edited], calls, "This trains the baseline.", "Train the linear baseline")
    if edited == len(calls):
        text = (
            f"The baseline gets {_percent(baseline)} of the held-out points right. A straight line cannot "
            "separate a disc from its ring: the distance from the centre decides, so it gets the squares too."
        )
        return Answer(text, (_plan(1), _call("edit", path="train.py", old_str=_PLAIN, new_str=_SQUARED)))
    improved = _measured(calls[edited:])
    if improved is None:
        return _run(calls[edited:], calls, "Now the same measurement again.", "Train with squared inputs")
    return _finish(calls, baseline, improved)


def _finish(calls: Sequence[_Call], baseline: float, improved: float) -> Answer:
    lost = "linear" if improved > baseline else "squares"
    removal = next((call for call in calls if call.command.startswith("rm ")), None)
    if removal is None:
        text = (
            f"{_percent(improved)} after {_percent(baseline)}. What is left is to delete the weights of the "
            "version that lost. Deleting a directory needs your approval."
        )
        command = _call("bash", command=f"rm -r runs/{lost}", description="Delete the weights that lost")
        return Answer(text, (_plan(2), command))
    if not any(call.name == "plan_tool" and _is_complete(call.arguments) for call in calls):
        return Answer("", (_plan(len(_PLAN)),))
    return Answer(_report(baseline, improved, lost, removal))


def _report(baseline: float, improved: float, lost: str, removal: _Call) -> str:
    verdict = "better" if improved > baseline else "no better"
    deleted = (
        f"The weights of the other version (runs/{lost}) are deleted, as you approved."
        if removal.result.startswith(_DELETED)
        else f"The weights in runs/{lost} were not deleted: {' '.join(removal.result.split())[:120]}"
    )
    kept = "squares" if lost == "linear" else "linear"
    return (
        f"Held-out accuracy: {_percent(baseline)} with the plain inputs, {_percent(improved)} with their "
        f"squares: {verdict}. Both were measured on 400 points that neither version saw in training.\n"
        f"The program is train.py; the weights that won are in runs/{kept}. {deleted}"
    )


def _run(version: Sequence[_Call], calls: Sequence[_Call], text: str, description: str) -> Answer:
    """Train, again if a run brought no number, and give up honestly in the end."""
    runs = [call for call in version if call.name == "bash"]
    if len(runs) < _RUNS:
        again = " The last run gave no number, so once more." if runs else ""
        command = f"{shlex.quote(sys.executable)} train.py"
        return Answer(text + again, (_call("bash", command=command, description=description, timeout=60),))
    if calls[-1].name == "bash":
        return Answer("The training does not run here; I give the plan up.", (_call("plan_tool", todos=[]),))
    said = " ".join(runs[-1].result.split())[:300]
    return Answer(f"I could not finish: train.py gave no accuracy in {_RUNS} runs. The last one said: {said}")


def _measured(calls: Sequence[_Call]) -> float | None:
    """The accuracy the newest of these runs printed."""
    found = [match for call in calls if call.name == "bash" for match in _METRIC.findall(call.result)]
    return float(found[-1]) if found else None


def _plan(completed: int) -> tuple[str, str]:
    def status(position: int) -> Literal["completed", "in_progress", "pending"]:
        if position < completed:
            return "completed"
        return "in_progress" if position == completed else "pending"

    todos = [
        {"id": name, "content": content, "status": status(position)}
        for position, (name, content) in enumerate(_PLAN)
    ]
    return _call("plan_tool", todos=todos)


def _is_complete(arguments: Mapping[str, Any]) -> bool:
    return all(item.get("status") == "completed" for item in arguments.get("todos") or ())


def _call(name: str, **arguments: Any) -> tuple[str, str]:
    return name, json.dumps(arguments)


@cache
def _script() -> str:
    return SCRIPT.read_text(encoding="utf-8")


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _calls(messages: Sequence[Mapping[str, Any]]) -> list[_Call]:
    results = {
        message.get("tool_call_id"): _text(message) for message in messages if message.get("role") == "tool"
    }
    return [
        _Call(
            call["function"]["name"],
            json.loads(call["function"]["arguments"] or "{}"),
            results.get(call["id"], ""),
        )
        for message in messages
        for call in message.get("tool_calls") or ()
    ]


def _is_prompt(message: Mapping[str, Any]) -> bool:
    return message.get("role") == "user" and not _text(message).startswith(_NOTE)


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    return "".join(str(part.get("text", "")) for part in content or () if isinstance(part, dict))
