"""edit: replace or add text at one place of a file."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ...errors import ToolError
from ..base import Arguments, Tool, ToolContext, ToolResult
from .change import Change, Hooks, carry_out
from .matching import Place, closest, find
from .paths import missing, resolve
from .text import Lines, decode, load, require_fresh, sha256

if TYPE_CHECKING:
    from pathlib import Path

LISTED = 10
LISTED_CHARS = 200
_NUMBERED = re.compile(r"^ *\d+\t")


class Edit(Arguments):
    """Change one place of a file that was read before: old_str becomes new_str.

    old_str must occur exactly once: copy it from the file, without the line numbers that read shows, with
    enough lines around it to be unique. The answer shows the change as a diff.
    """

    path: str = Field(description="The file; relative to the working directory, or absolute, or with ~.")
    old_str: str = Field(min_length=1, description="Text that is in the file.")
    new_str: str = Field(description="Text to put there.")
    replace_all: bool = Field(
        default=False, description="Change every occurrence instead of requiring a single one."
    )
    mode: Literal["replace", "append_after", "prepend_before"] = Field(
        default="replace",
        description="Put new_str in the place of old_str, right after it, or right before it.",
    )


async def run_edit(arguments: Edit, context: ToolContext) -> ToolResult:
    """Make the edit; line ends, encoding, mode and symbolic links stay. The diff is the result."""
    return await carry_out(await asyncio.to_thread(_plan, arguments, context, True), context)


def _plan(arguments: Edit, context: ToolContext, checked: bool) -> Change:
    """Work out the edit.

    Raises:
        ToolError: file missing, unread or stale; text not found, not unique, or nothing to change.
    """
    path = resolve(arguments.path, context)
    if not path.exists():
        raise ToolError(f"{missing(path)} Use write to create a file.")
    before = load(path)
    if checked:
        require_fresh(path, sha256(before), context)
    if arguments.mode == "replace" and arguments.old_str == arguments.new_str:
        raise ToolError("old_str and new_str are the same; there is nothing to change.")
    file = decode(before, path)
    lines = Lines(file.text)
    old = arguments.old_str.replace("\r\n", "\n").replace("\r", "\n")
    new = arguments.new_str.replace("\r\n", "\n")
    places = _chosen(arguments, lines.text, old, path)
    text = _replaced(lines, places, new, arguments.mode)
    if text == file.text:
        raise ToolError("The file holds this text already; there is nothing to change.")
    count = len(places)
    summary = f"Edited {path}" + (f" in {count} places." if count > 1 else ".")
    if places[0].how != "exact":
        summary += f" (old_str was found only without regard to {places[0].how}.)"
    return Change(path, before, file.encode(text), file.text, text, summary)


def _chosen(arguments: Edit, text: str, old: str, path: Path) -> list[Place]:
    places = find(text, old)
    if not places:
        raise ToolError(_not_found(text, old, path))
    exact = places[0].how == "exact"
    if len(places) > 1 and not (exact and arguments.replace_all):
        how = "occurs" if exact else f"occurs, without regard to {places[0].how},"
        remedy = "Give more lines around it" + (
            ", or set replace_all." if exact else ", exactly as in the file."
        )
        raise ToolError(f"old_str {how} {len(places)} times in {path}. {remedy}\n{_candidates(text, places)}")
    return places


def _candidates(text: str, places: list[Place]) -> str:
    shown = []
    for place in places[:LISTED]:
        number = text.count("\n", 0, place.start) + 1
        start = text.rfind("\n", 0, place.start) + 1
        line = (
            text[start:].partition("\n")[0]
            if place.start - start < LISTED_CHARS
            else text[place.start : place.start + LISTED_CHARS]
        )
        shown.append(f"  line {number}: {line.strip()[:LISTED_CHARS]}")
    if len(places) > LISTED:
        shown.append(f"  ... and {len(places) - LISTED} more")
    return "\n".join(shown)


def _not_found(text: str, old: str, path: Path) -> str:
    message = f"old_str was not found in {path}."
    if all(_NUMBERED.match(line) for line in old.strip("\n").split("\n")):
        return f"{message} It begins with the line numbers that read shows; leave them out."
    near = closest(text, old)
    if near is None:
        return f"{message} Nothing in the file looks like it; read the file again."
    first, last = near
    found = "\n".join(text.split("\n")[first - 1 : last])[:3_000]
    return f"{message} The most similar place, line {first} to {last}, reads:\n{found}"


def _replaced(lines: Lines, places: list[Place], new: str, mode: str) -> str:
    pieces, at = [], 0
    for place in places:
        start, end = lines.place(place.start), lines.place(place.end)
        found = lines.raw[start:end]
        # Line ends of text that comes new into a line follow those around it.
        fitted = _fitted(new, place).replace("\n", lines.line_end(place.start, place.end))
        put = {"append_after": found + fitted, "prepend_before": fitted + found}.get(mode, fitted)
        pieces += [lines.raw[at:start], put]
        at = end
    return "".join((*pieces, lines.raw[at:]))


def _fitted(new: str, place: Place) -> str:
    if place.indent is None:
        return new
    fitted = place.indent.apply(new)
    if fitted is None:
        raise ToolError(
            "old_str was found only without regard to white space, and its indentation differs from the "
            "file's in a way that new_str cannot follow. Copy old_str exactly from the file."
        )
    return fitted


_HOOKS = Hooks(_plan, lambda arguments: arguments.path)

TOOLS = (
    Tool(
        "edit",
        Edit,
        run_edit,
        effect="idempotent",
        fingerprint=_HOOKS.fingerprint,
        recover=_HOOKS.recover,
        preview=_HOOKS.preview,
    ),
)
