"""What write and edit have in common: a planned change of one file, carried out, told, and found again."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ...errors import ToolError
from ..base import Arguments, ToolResult
from . import python_check
from .diff import unified
from .offload import ask, own_script
from .paths import shown
from .text import replace_file, sha256

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..base import ToolContext

A = TypeVar("A", bound=Arguments)

CHECK_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Change:
    """New content for one file, not yet written."""

    path: Path
    before: bytes | None
    """None: the file is new."""
    after: bytes
    old_text: str
    new_text: str
    summary: str
    """What was done, one line for the model."""

    def diff(self, context: ToolContext) -> str:
        """Unified diff of the change."""
        return unified(self.old_text, self.new_text, shown(self.path, context))

    def fingerprint(self) -> dict[str, str]:
        """Hashes that tell, after a crash, whether the change was made."""
        before = sha256(self.before) if self.before is not None else ""
        return {"path": str(self.path), "before": before, "after": sha256(self.after)}


async def carry_out(change: Change, context: ToolContext) -> ToolResult:
    """Write the file and tell what changed, with warnings about Python sources."""
    diff = await asyncio.to_thread(change.diff, context)
    await asyncio.to_thread(replace_file, change.path, change.after)
    digest = sha256(change.after)
    context.stamps[str(change.path)] = digest
    warnings = await _warnings(change)
    text = "\n".join(part for part in (change.summary, diff, *warnings) if part)
    details: dict[str, Any] = {"path": str(change.path), "diff": diff, "stamps": {str(change.path): digest}}
    if warnings:
        details["warnings"] = warnings
    return ToolResult(text, details=details)


async def _warnings(change: Change) -> list[str]:
    if change.path.suffix != ".py":
        return []
    script, source = own_script(Path(python_check.__file__)), change.new_text.encode("utf-8", "replace")
    answer = await ask(script, source, timeout_s=CHECK_TIMEOUT_S)
    return [f"Warning: {line}" for line in answer.output.decode("utf-8", "replace").splitlines() if line]


class Hooks(Generic[A]):
    """Fingerprint, recovery and preview of a tool that plans one change."""

    def __init__(self, plan: Callable[[A, ToolContext, bool], Change], path_of: Callable[[A], str]) -> None:
        self._plan = plan
        self._path_of = path_of

    async def fingerprint(self, arguments: A, context: ToolContext) -> dict[str, str]:
        """Path and hashes before and after; `after` is empty when the change cannot be made."""
        return await asyncio.to_thread(self._fingerprint, arguments, context)

    def _fingerprint(self, arguments: A, context: ToolContext) -> dict[str, str]:
        try:
            return self._plan(arguments, context, False).fingerprint()
        except ToolError:
            # The call itself will tell what is wrong.
            return {"path": self._path_of(arguments), "before": "", "after": ""}

    async def recover(
        self, arguments: A, context: ToolContext, fingerprint: dict[str, str]
    ) -> ToolResult | None:
        """The result of a change that was made before the process ended, or None when it was not made."""
        del arguments
        path, after = Path(fingerprint.get("path", "")), fingerprint.get("after", "")
        try:
            now = sha256(await asyncio.to_thread(path.read_bytes)) if after else ""
        except OSError:
            return None
        if not now or now != after:
            return None
        context.stamps[str(path)] = now
        return ToolResult(
            f"{path} was changed as asked before the interruption; it holds the new content.",
            details={"path": str(path), "recovered": True, "stamps": {str(path): now}},
        )

    async def preview(self, arguments: A, context: ToolContext) -> dict[str, Any]:
        """The diff the call would make.

        Raises:
            ToolError: it cannot be made.
        """
        change = await asyncio.to_thread(self._plan, arguments, context, False)
        return {"path": str(change.path), "diff": await asyncio.to_thread(change.diff, context)}
