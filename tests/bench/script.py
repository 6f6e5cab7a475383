"""What a scripted model says: steps, the faults before them, and how the step for a request is picked."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, cast

if TYPE_CHECKING:
    from pathlib import Path

Json = dict[str, Any]
Mode = Literal["sequence", "by_turns"]
AfterEnd = Literal["refuse", "last", "cycle"]
Wording = Literal["openai", "vllm", "llamacpp"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call the model asks for."""

    name: str
    arguments: Json | str = field(default_factory=dict)
    """An object, or the raw text to send in its place (which need not be JSON)."""
    id: str | None = None
    """None: made from the number of the answer, so that a repeated request gets the same one."""

    @property
    def text(self) -> str:
        """The arguments as they go over the wire."""
        return self.arguments if isinstance(self.arguments, str) else json.dumps(self.arguments)


@dataclass(frozen=True, slots=True)
class Step:
    """One answer of the scripted model, or one way of not giving it. Times are in seconds."""

    text: str = ""
    reasoning: str = ""
    """Thinking shown before the text (`reasoning_content`, or a `thinking` block with a signature)."""
    tool_calls: Sequence[ToolCall] = ()
    finish_reason: str | None = None
    """None: what the content implies. Always in OpenAI's words; `length` becomes Anthropic's `max_tokens`."""
    usage: Json | None = None
    """Replaces figures of the computed usage; keys of OpenAI or Anthropic, as the client under test reads."""
    no_usage: bool = False

    chunk_chars: int = 24
    """Characters of text or arguments in one streamed chunk; 0 sends each in one piece."""
    delay_s: float = 0.0
    """Wait before the first byte."""
    chunk_delay_s: float = 0.0
    hold: str = ""
    """A gate: the answer waits until it is released (`ModelServer.release`, `POST /__release/NAME`)."""

    status: int = 200
    """From 400 on, an error: `error` (or the provider's usual text for it) is all that is sent."""
    error: Json | str | None = None
    """The body of an error; a text is put into the provider's own frame."""
    headers: Mapping[str, str] = field(default_factory=dict)
    drop: bool = False
    """Close the connection in place of an answer."""
    stall: bool = False
    """Never answer."""
    cut_after_chunks: int | None = None
    """Drop the connection after this many streamed chunks (0: after the headers)."""
    stall_after_chunks: int | None = None
    error_after_chunks: int | None = None
    """Send an error event into the stream after this many chunks, and end it."""
    no_finish_reason: bool = False
    """End the stream without saying why (and without Anthropic's last two events)."""
    no_done: bool = False
    """End the stream without `data: [DONE]`."""
    index_zero: bool = False
    """Give every tool call delta the index 0, as some gateways do."""
    no_index: bool = False
    """Leave the index of tool call deltas out."""
    same_chunk: bool = False
    """Send all tool calls, complete, in one chunk."""
    empty_arguments: bool = False
    """Send "" for the arguments of every call."""

    @property
    def calls(self) -> list[ToolCall]:
        """The tool calls as this step sends them."""
        if not self.empty_arguments:
            return list(self.tool_calls)
        return [ToolCall(call.name, "", call.id) for call in self.tool_calls]

    @property
    def reason(self) -> str:
        """Why the answer ends, in OpenAI's words."""
        return self.finish_reason or ("tool_calls" if self.tool_calls else "stop")


PlannedStep = Step | str | Json | Callable[[Json], Any]
"""A step, its text alone, its JSON object, or a function of the request that gives one of these."""


@dataclass(frozen=True, slots=True)
class Track:
    """A line of steps for the requests whose body contains a text (a sub-agent, a compaction)."""

    steps: Sequence[PlannedStep]
    contains: str = ""
    """Looked for in the raw request body; the empty text of the main track matches whatever is left."""
    mode: Mode = "sequence"
    """`sequence`: the nth request gets step n. `by_turns`: a request with n assistant messages gets step n,
    so that one repeated after a crash gets the same answer."""
    faults: Mapping[int, Sequence[PlannedStep]] = field(default_factory=dict)
    """Steps played once, each for one request, before the step of that number (counted from 0)."""
    after_end: AfterEnd = "refuse"


@dataclass(frozen=True, slots=True)
class Script:
    """Everything a model server needs to know to play a model."""

    steps: Sequence[PlannedStep] = ()
    mode: Mode = "sequence"
    faults: Mapping[int, Sequence[PlannedStep]] = field(default_factory=dict)
    after_end: AfterEnd = "refuse"
    tracks: Sequence[Track] = ()
    """Tried in order before the main one."""
    models: Sequence[str | Json] = ()
    """Ids, or whole catalogue entries with an `id`; others get 404. Empty: every id is served."""
    context_tokens: int | None = None
    """Requests above this window are refused; a token is four characters of messages and tools."""
    overflow_wording: Wording = "openai"
    require_key: str | None = None
    validate: bool = True
    keep_bodies: bool = True
    """Keep each parsed request body in the journal."""

    @property
    def model_ids(self) -> list[str]:
        """The ids of `models`."""
        return [model if isinstance(model, str) else str(model["id"]) for model in self.models]

    @property
    def all_tracks(self) -> list[Track]:
        """Every track, the main one last."""
        return [*self.tracks, Track(self.steps, "", self.mode, self.faults, self.after_end)]


ScriptLike = Script | str | Step | Callable[[Json], Step] | Sequence[Any] | Mapping[str, Any]


class ScriptEnded(Exception):
    """A request came for which the script has no step."""


class Player:
    """Picks the step for each request of one track, and remembers which faults were played."""

    def __init__(self, track: Track) -> None:
        self.track = track
        self._next = 0
        self._faults = {number: deque(steps) for number, steps in track.faults.items()}

    def pick(self, request: Json) -> tuple[Step, int]:
        """The step for this request and its number, which tool call ids are made from."""
        messages = request.get("messages")
        turns = sum(isinstance(m, dict) and m.get("role") == "assistant" for m in messages or ())
        number = turns if self.track.mode == "by_turns" else self._next
        if waiting := self._faults.get(number):
            planned = step_from(waiting.popleft())
        else:
            planned = step_from(self._planned(number))
            self._next += 1
        return (planned if isinstance(planned, Step) else _step(planned(request))), number

    def _planned(self, number: int) -> PlannedStep:
        steps = self.track.steps
        if number < len(steps):
            return steps[number]
        if not steps or self.track.after_end == "refuse":
            raise ScriptEnded(f"the script has {len(steps)} steps, none for answer {number}")
        return steps[-1] if self.track.after_end == "last" else steps[number % len(steps)]


def step_from(value: Any) -> Step | Callable[[Json], Any]:
    """A step from a text, an object of a JSON script, or what is one already."""
    if isinstance(value, Step) or callable(value):
        return cast("Step | Callable[[Json], Any]", value)
    if isinstance(value, str):
        return Step(text=value)
    known = _checked(Step, value)
    known["tool_calls"] = tuple(
        call if isinstance(call, ToolCall) else ToolCall(**_checked(ToolCall, call))
        for call in known.get("tool_calls") or ()
    )
    return Step(**known)


def _step(value: Any) -> Step:
    step = step_from(value)
    if not isinstance(step, Step):
        raise TypeError(f"a step's function must give a step, not {value!r}")
    return step


def script_from(value: ScriptLike) -> Script:
    """A script from a list of steps, the object of a JSON script, one step, or what is one already.

    Raises:
        TypeError: A key is unknown or a value has the wrong shape.
    """
    if isinstance(value, Script):
        return value
    if isinstance(value, str | Step) or callable(value):
        return Script(steps=[step_from(value)])
    if isinstance(value, Sequence):
        return Script(steps=[step_from(step) for step in value])
    known = _planned_lists(_checked(Script, value))
    known["tracks"] = [
        track if isinstance(track, Track) else Track(**_planned_lists(_checked(Track, track)))
        for track in known.get("tracks") or ()
    ]
    return Script(**known)


def load_script(path: Path) -> Script:
    """Read a JSON script.

    Raises:
        TypeError: The file does not hold a script.
    """
    return script_from(json.loads(path.read_text(encoding="utf-8")))


def _planned_lists(known: Json) -> Json:
    known["steps"] = [step_from(step) for step in known.get("steps") or ()]
    known["faults"] = {
        int(number): [step_from(step) for step in steps]
        for number, steps in (known.get("faults") or {}).items()
    }
    return known


def _checked(shape: type[Any], value: Any) -> Json:
    if not isinstance(value, Mapping):
        raise TypeError(f"a {shape.__name__} must be an object, got {value!r}")
    names = {f.name for f in fields(shape)}
    if unknown := sorted(set(value) - names):
        raise TypeError(f"a {shape.__name__} has no {', '.join(unknown)}; it has {', '.join(sorted(names))}")
    return dict(value)
