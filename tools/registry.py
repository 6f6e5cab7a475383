"""The router: finds a tool, checks its arguments, runs it so that nothing it does can hurt the run."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..errors import ToolError
from .base import ToolResult
from .output import LIMIT_CHARS, NOTE_ROOM_CHARS, cap, encodable, spill_path
from .parsing import decode_object, nearest, validate
from .schema import function_schema

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from .base import Arguments, Effect, Tool, ToolContext

ABANDON_S = 10.0
"""How long a cancelled handler may take to tidy up before it is left behind."""


@dataclass(frozen=True, slots=True)
class ParsedCall:
    """A call whose arguments are valid."""

    tool: Tool[Any]
    arguments: Arguments
    canonical: dict[str, Any]
    """The validated arguments as plain JSON data, defaults filled in."""
    digest: str
    """sha256 (hex) over the tool's name and the canonical arguments: equal calls have equal digests."""

    @property
    def given(self) -> dict[str, Any]:
        """The validated arguments without the defaults, as people want to see them."""
        return self.arguments.model_dump(mode="json", exclude_unset=True)


class ToolRouter:
    """All tools of a run, by name."""

    def __init__(self, tools: Iterable[Tool[Any]]) -> None:
        self._tools: dict[str, Tool[Any]] = {}
        for tool in tools:
            if tool.name in self._tools:
                raise ValueError(f"two tools are called {tool.name!r}")
            self._tools[tool.name] = tool
        self._schemas = json.dumps([function_schema(tool) for tool in self._tools.values()])

    @property
    def names(self) -> tuple[str, ...]:
        """Names in the order the model sees them."""
        return tuple(self._tools)

    def schemas(self) -> list[dict[str, Any]]:
        """All tools in OpenAI's function shape: equal at every call, and the caller's own to change."""
        schemas: list[dict[str, Any]] = json.loads(self._schemas)
        return schemas

    def get(self, name: str) -> Tool[Any] | None:
        """The tool of that name."""
        return self._tools.get(name)

    def parse(self, name: str, raw: str) -> ParsedCall:
        """Check a call as the model wrote it.

        Args:
            name: tool the model named.
            raw: its arguments, JSON text; empty text and `null` mean none.

        Raises:
            ToolError: unknown tool, or arguments that cannot be put right; the text is for the model.
        """
        tool = self._tools.get(name)
        if tool is None:
            near = nearest(name, self._tools)
            hint = f"Did you mean {' or '.join(repr(known) for known in near)}? " if near else ""
            raise ToolError(
                f"There is no tool {name!r}. {hint}There are: {', '.join(self._tools) or 'none'}."
            )
        arguments = validate(name, tool.arguments, decode_object(name, raw))
        canonical = arguments.model_dump(mode="json")
        text = json.dumps([name, canonical], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        try:
            digest = hashlib.sha256(text.encode()).hexdigest()
        except UnicodeEncodeError:
            raise ToolError(
                f"{name}: the arguments are not valid Unicode (half of a surrogate pair)."
            ) from None
        return ParsedCall(tool, arguments, canonical, digest)

    def effect(self, parsed: ParsedCall) -> Effect:
        """Class of this very call; what cannot be classified counts as `once`."""
        try:
            return parsed.tool.effect_of(parsed.arguments)
        except Exception:  # noqa: BLE001 - a bug in one tool's classifier must not end the run
            return "once"

    async def run(self, parsed: ParsedCall, context: ToolContext) -> ToolResult:
        """Run one call to its end; errors, time-outs and floods become results.

        Raises:
            asyncio.CancelledError: the caller was cancelled; the handler has ended by then.
        """
        started = time.monotonic()
        task = asyncio.ensure_future(_handle(parsed, context))
        try:
            await asyncio.wait({task}, timeout=_timeout_s(parsed))
        except asyncio.CancelledError:
            await _end(task)
            raise
        result = _outcome(parsed.tool.name, task) if task.done() else await _timed_out(parsed, task)
        result = await _fit(result, spill_path(context.spill_dir, context.call_id))
        elapsed_s = round(time.monotonic() - started, 3)
        return replace(result, details={"duration_s": elapsed_s, **_plain(result.details)})


async def _handle(parsed: ParsedCall, context: ToolContext) -> ToolResult:
    name = parsed.tool.name
    try:
        result = await parsed.tool.run(parsed.arguments, context)
        if not isinstance(result, (str, ToolResult)):
            raise TypeError(f"it returned {type(result).__name__} instead of a result")
    except ToolError as error:
        return ToolResult(str(error), ok=False)
    except (Exception, SystemExit, BaseExceptionGroup) as error:  # noqa: BLE001 - the boundary between a tool and the run
        return ToolResult(_one_line(f"{name} failed: {type(error).__name__}: {error}"), ok=False)
    if isinstance(result, str):
        return ToolResult(result)
    return result


def _timeout_s(parsed: ParsedCall) -> float:
    try:
        return max(0.0, parsed.tool.timeout_of(parsed.arguments))
    except Exception:  # noqa: BLE001 - a bug in one tool must not end the run
        return 120.0


def _outcome(name: str, task: asyncio.Future[ToolResult]) -> ToolResult:
    if task.cancelled():
        return ToolResult(f"{name} failed: it was cancelled from inside", ok=False)
    return task.result()


async def _timed_out(parsed: ParsedCall, task: asyncio.Future[ToolResult]) -> ToolResult:
    """Stop the handler; one that answers its cancellation with a result has its partial output kept."""
    await _end(task)
    text = f"{parsed.tool.name} timed out after {_timeout_s(parsed):g} s and was stopped"
    details: dict[str, Any] = {"timed_out": True}
    if not task.done():
        return ToolResult(f"{text} (it has not ended yet).", ok=False, details=details)
    if task.cancelled() or not isinstance(task.result().content, str) or not task.result().content:
        return ToolResult(f"{text}.", ok=False, details=details)
    partial = task.result()
    return ToolResult(
        f"{text}. Output so far:\n{partial.content}", ok=False, details={**partial.details, **details}
    )


async def _end(task: asyncio.Future[ToolResult]) -> None:
    """Cancel a handler and wait until it has tidied up, however often this is itself cancelled."""
    task.cancel()
    task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
    loop = asyncio.get_running_loop()
    deadline = loop.time() + ABANDON_S
    while not task.done() and (left_s := deadline - loop.time()) > 0:
        try:
            await asyncio.wait({task}, timeout=left_s)
        except asyncio.CancelledError:
            continue


async def _fit(result: ToolResult, spill: Path) -> ToolResult:
    """Cap the text and make it fit for wires and databases; image parts pass."""
    if isinstance(result.content, str):
        content, cut = await _fit_text(result.content, "spill" in result.details, spill)
        return replace(result, content=content, details={**result.details, **cut})
    parts, details = [], dict(result.details)
    for part in result.content:
        if not isinstance(part.get("text"), str):
            parts.append(part)
            continue
        content, cut = await _fit_text(
            part["text"], "spill" in details, spill.with_stem(f"{spill.stem}-{len(parts)}")
        )
        parts.append({**part, "text": content})
        details |= cut
    return replace(result, content=parts, details=details)


async def _fit_text(text: str, already_cut: bool, spill: Path) -> tuple[str, dict[str, Any]]:
    if len(text) <= LIMIT_CHARS + (NOTE_ROOM_CHARS if already_cut else 0):
        return encodable(text), {}
    captured = await asyncio.to_thread(cap, text, spill)
    return captured.text, captured.details()


def _plain(value: Any) -> Any:
    """Details as JSON data, whatever a tool put in."""
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, dict):
        return {encodable(str(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    finite = value is None or (isinstance(value, (bool, int, float)) and math.isfinite(value))
    return value if finite else encodable(str(value))


def _one_line(text: str, limit_chars: int = 2_000) -> str:
    line = " ".join(text[: limit_chars * 2].split())
    return line if len(line) <= limit_chars else line[: limit_chars - 3] + "..."


def default_tools() -> tuple[Tool[Any], ...]:
    """The tools that work on this machine, in the order the model sees them."""
    from . import plan, search, shell  # noqa: PLC0415 - the router is used without them too (replay, other tool sets)
    from .files import edit, read, write  # noqa: PLC0415 - as above

    return (*shell.TOOLS, *read.TOOLS, *write.TOOLS, *edit.TOOLS, *search.TOOLS, *plan.TOOLS)
