"""write: create a file or replace its whole content."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pydantic import Field

from ...errors import ToolError
from ..base import Arguments, Tool, ToolContext, ToolResult
from .change import Change, Hooks, carry_out
from .paths import resolve
from .text import decode, load, require_fresh, sha256

if TYPE_CHECKING:
    from pathlib import Path


class Write(Arguments):
    """Create a file, or replace the whole content of one that was read before.

    Directories are made as needed. To change a part of a file use edit. Python sources are checked for syntax
    errors, and training scripts for a missing push_to_hub.
    """

    path: str = Field(description="The file; relative to the working directory, or absolute, or with ~.")
    content: str = Field(description="The whole new content.")


async def run_write(arguments: Write, context: ToolContext) -> ToolResult:
    """Write the file in one step; mode and symbolic links stay. The diff is part of the result."""
    return await carry_out(await asyncio.to_thread(_plan, arguments, context, True), context)


def _plan(arguments: Write, context: ToolContext, checked: bool) -> Change:
    path = resolve(arguments.path, context)
    if path.is_dir():
        raise ToolError(f"{path} is a directory.")
    after = arguments.content.encode()
    lines = arguments.content.count("\n") + (not arguments.content.endswith("\n") and bool(arguments.content))
    size = f"{lines:,} line{'s' if lines != 1 else ''}, {len(after):,} bytes"
    if not path.exists():
        return Change(path, None, after, "", arguments.content, f"Created {path} ({size}).")
    before = load(path)
    if checked:
        require_fresh(path, sha256(before), context)
    return Change(path, before, after, _old_text(before, path), arguments.content, f"Wrote {path} ({size}).")


def _old_text(data: bytes, path: Path) -> str:
    try:
        return decode(data, path).text
    except ToolError:
        return f"(binary, {len(data):,} bytes)"


_HOOKS = Hooks(_plan, lambda arguments: arguments.path)

TOOLS = (
    Tool(
        "write",
        Write,
        run_write,
        effect="idempotent",
        fingerprint=_HOOKS.fingerprint,
        recover=_HOOKS.recover,
        preview=_HOOKS.preview,
    ),
)
