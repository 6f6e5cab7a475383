"""Show a headless run: text, one JSON object, or a line of JSON per event."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from ..events import CLOSING, Event
from .progress import progress_lines
from .redaction import redact, redact_data
from .streams import Writer, colours_wanted, is_terminal, without_controls

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Literal

    from ..events import EventName
    from .outcome import Outcome, Status

    Verbosity = Literal["quiet", "normal", "verbose"]

_CLOSING_EVENT: dict[Status, EventName] = {
    "done": "turn_complete",
    "error": "error",
    "limit": "limit_reached",
    "waiting": "approval_required",
    "interrupted": "interrupted",
}


class Sink(Protocol):
    """A reader of events; it never raises because its output is gone."""

    def event(self, event: Event) -> None:
        """Take one event, in order of `seq`."""

    def hide(self, secrets: Iterable[str]) -> None:
        """Redact these values, too, from now on."""

    def close(self, outcome: Outcome) -> None:
        """Say how it ended; nothing comes after."""


class TextSink:
    """Standard output gets the final answer and nothing else; progress goes to standard error."""

    def __init__(
        self,
        out: TextIO | None,
        err: TextIO | None,
        *,
        verbosity: Verbosity = "normal",
        env: Mapping[str, str] | None = None,
        secrets: Iterable[str] = (),
    ) -> None:
        self.out = Writer(out)
        self.err = Writer(err)
        self._verbosity = verbosity
        self._colours = colours_wanted(err, env or {})
        self._out_is_terminal = is_terminal(out)
        self._secrets = tuple(secrets)

    def hide(self, secrets: Iterable[str]) -> None:
        """Redact these values, too."""
        self._secrets = (*self._secrets, *secrets)

    def event(self, event: Event) -> None:
        """Write the progress lines of one event."""
        if self._verbosity == "quiet":
            return
        for line in progress_lines(event, verbose=self._verbosity == "verbose"):
            self._say(line)

    def close(self, outcome: Outcome) -> None:
        """Write the final answer to standard output, anything but success to standard error."""
        if outcome.final_response:
            text = redact(outcome.final_response, self._secrets)
            if self._out_is_terminal:
                text = without_controls(text)
            self.out.write(text if text.endswith("\n") else text + "\n")
        for line in closing_lines(outcome):
            self._say(line, strong=True)

    def _say(self, line: str, *, strong: bool = False) -> None:
        line = without_controls(redact(line, self._secrets))
        if self._colours:
            line = f"\x1b[{'31' if strong else '2'}m{line}\x1b[0m"
        self.err.write(line + "\n")


class JsonSink:
    """One JSON object when all is over."""

    def __init__(self, out: TextIO | None, *, secrets: Iterable[str] = ()) -> None:
        self.out = Writer(out)
        self._secrets = tuple(secrets)

    def hide(self, secrets: Iterable[str]) -> None:
        """Redact these values, too."""
        self._secrets = (*self._secrets, *secrets)

    def event(self, event: Event) -> None:
        """Nothing: the outcome says it all."""

    def close(self, outcome: Outcome) -> None:
        """Write the outcome as one line."""
        self.out.write(json_line(redact_data(outcome.as_dict(), self._secrets), self.out))


class StreamJsonSink:
    """One JSON object per event and line, each flushed at once.

    A secret that is split over two streamed chunks is not seen by the redaction; the stored events and
    `assistant_message` carry the whole text.
    """

    def __init__(self, out: TextIO | None, *, secrets: Iterable[str] = ()) -> None:
        self.out = Writer(out)
        self._secrets = tuple(secrets)
        self._last: Event | None = None
        self._last_seq = 0

    def hide(self, secrets: Iterable[str]) -> None:
        """Redact these values, too."""
        self._secrets = (*self._secrets, *secrets)

    def event(self, event: Event) -> None:
        """Write one event; `shutdown` is not written."""
        self._last_seq = event.seq
        if event.name == "shutdown":
            return
        self._last = event
        line = {**event.as_dict(), "data": redact_data(event.data, self._secrets)}
        self.out.write(json_line(line, self.out))

    def close(self, outcome: Outcome) -> None:
        """Write the closing event if the run itself could not, e.g. when it failed before it began."""
        last = self._last.name if self._last is not None else None
        if last in CLOSING or (last == "compacted" and outcome.status == "done"):
            return
        seq = self._last_seq + 1
        at = datetime.now(UTC).isoformat()
        name = _CLOSING_EVENT[outcome.status]
        self.event(Event(seq, outcome.thread_id, name, at, _closing_data(outcome)))


def json_line(value: Any, out: Writer) -> str:
    """One line of JSON that the stream can carry unharmed; `value` is plain data."""
    return json.dumps(value, ensure_ascii=out.encoding not in {"utf-8", "utf8"}, allow_nan=False) + "\n"


def closing_lines(outcome: Outcome) -> list[str]:
    """What a person must know when a run did not simply succeed, and how to go on."""
    thread = outcome.thread_id
    resume = f"; go on with: ml-intern -r {thread}" if thread else ""
    if outcome.status == "error":
        return [f"Error: {outcome.error or 'the run failed'}"]
    if outcome.status == "limit":
        # What says which limit it was names the way on by itself.
        return [f"Stopped: {outcome.error or f'a limit was reached{resume}'}"]
    if outcome.status == "interrupted":
        return [f"Interrupted{': ' + outcome.error if outcome.error else ''}{resume}"]
    if outcome.status == "waiting":
        calls = ", ".join(str(call.get("tool", "?")) for call in outcome.approvals) or "a call"
        return [f"Waiting for approval of {calls}; answer with: ml-intern approve {thread or 'THREAD'}"]
    return []


def _closing_data(outcome: Outcome) -> dict[str, Any]:
    if outcome.status == "done":
        return {"final_response": outcome.final_response, "iterations": outcome.iterations}
    if outcome.status == "waiting":
        return {"tools": outcome.approvals, "count": len(outcome.approvals)}
    key = {"error": "error", "limit": "message", "interrupted": "reason"}[outcome.status]
    return {key: outcome.error}
