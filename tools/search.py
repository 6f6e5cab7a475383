"""grep and glob: find text in files, and files by name."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from ..errors import ToolError
from . import search_worker
from .base import Arguments, Tool, ToolContext, ToolResult
from .files.offload import ask, own_script
from .files.paths import missing, resolve

if TYPE_CHECKING:
    from .files.offload import Answer

TIMEOUT_S = 60.0
"""What was found until then is shown."""
LINE_CHARS = 500
TOTAL_CHARS = 24_000


class Grep(Arguments):
    """Search the content of files with a regular expression.

    Searches below a directory all text files that are not hidden and not ignored by git.
    """

    pattern: str = Field(min_length=1, description="Regular expression, matched line by line.")
    path: str = Field(default=".", description="File or directory to search.")
    glob: str | None = Field(
        default=None, description="Only files whose name or path matches, e.g. *.py or src/**/*.ts."
    )
    output_mode: Literal["content", "files", "count"] = Field(
        default="content",
        description="Matching lines with their numbers, only the files' names, or counts per file.",
    )
    case_insensitive: bool = Field(default=False, description="Take upper and lower case as the same.")
    context: int = Field(default=0, ge=0, le=50, description="Lines to show before and after each match.")
    head_limit: int = Field(default=200, ge=1, le=5_000, description="Most lines of output.")


class Glob(Arguments):
    """Find files by name, newest first.

    Hidden files and directories such as node_modules are left out unless the pattern names them.
    """

    pattern: str = Field(min_length=1, description="Pattern such as *.py, **/*.py, src/**/test_?.{ts,tsx}.")
    path: str = Field(default=".", description="Directory to search.")
    limit: int = Field(default=100, ge=1, le=5_000, description="Most files to list.")


async def run_grep(arguments: Grep, context: ToolContext) -> ToolResult:
    """Search with ripgrep where it is installed, else with a search of our own."""
    root = await asyncio.to_thread(resolve, arguments.path, context)
    if not root.exists():
        raise ToolError(missing(root))
    ripgrep = await asyncio.to_thread(shutil.which, "rg", path=context.env.get("PATH"))
    question = {"kind": "grep", "root": str(root), "line_chars": LINE_CHARS, **arguments.model_dump()}
    found = _Found(arguments.head_limit)
    answer = await ask(
        _ripgrep(ripgrep, arguments, root) if ripgrep else own_script(Path(search_worker.__file__)),
        b"" if ripgrep else json.dumps(question).encode(),
        timeout_s=TIMEOUT_S,
        cwd=root if root.is_dir() else root.parent,
        take=found.take,
    )
    unit = "line" if arguments.output_mode == "content" else "file"
    return found.result(answer, arguments.pattern, unit, "head_limit")


async def run_glob(arguments: Glob, context: ToolContext) -> ToolResult:
    """List matching files."""
    root = await asyncio.to_thread(resolve, arguments.path, context)
    if not root.is_dir():
        raise ToolError(f"{root} is no directory." if root.exists() else missing(root))
    question = {"kind": "glob", "root": str(root), "pattern": arguments.pattern, "line_chars": 4_096}
    found = _Found(arguments.limit)
    script = own_script(Path(search_worker.__file__))
    answer = await ask(script, json.dumps(question).encode(), timeout_s=TIMEOUT_S, take=found.take)
    return found.result(answer, arguments.pattern, "file", "limit")


def _ripgrep(program: str, arguments: Grep, root: Path) -> list[str]:
    mode = {
        "content": ["--line-number", "--context", str(arguments.context)],
        "files": ["--files-with-matches"],
        "count": ["--count"],
    }
    argv = [
        program,
        "--no-config",
        "--no-heading",
        "--with-filename",
        "--color=never",
        "--sort=path",
        "--no-messages",
        "--crlf",
    ]
    argv += ["--max-columns", str(LINE_CHARS), "--max-columns-preview", *mode[arguments.output_mode]]
    argv += ["--ignore-case"] if arguments.case_insensitive else []
    argv += ["--glob", arguments.glob] if arguments.glob else []
    return [*argv, "--regexp", arguments.pattern, "--", str(root) if root.is_file() else "."]


class _Found:
    """Lines a search printed; filled in a thread."""

    def __init__(self, limit: int) -> None:
        self.lines: list[str] = []
        self.more = False
        self._limit = limit
        self._chars = 0

    def take(self, raw: bytes) -> bool:
        """Keep a line; False when there is no room for more."""
        line = raw.decode("utf-8", "replace").rstrip("\r\n").removeprefix("./")
        self._chars += len(line) + 1
        self.more = len(self.lines) >= self._limit or self._chars > TOTAL_CHARS
        if not self.more:
            self.lines.append(line if len(line) < LINE_CHARS else line[:LINE_CHARS] + "...")
        return not self.more

    def result(self, answer: Answer, pattern: str, unit: str, limit_name: str) -> ToolResult:
        """What the model reads."""
        if answer.exit_code > 0 and answer.errors.strip() and not self.lines:
            raise ToolError(" ".join(answer.errors.split())[:500])
        notes = []
        if self.more:
            notes.append(
                f"(the first {len(self.lines)} {unit}s of more: narrow the search or raise {limit_name})"
            )
        if answer.timed_out:
            notes.append(f"(stopped after {TIMEOUT_S:g} s; there may be more: search a smaller directory)")
        details: dict[str, Any] = {"count": len(self.lines), "more": self.more, "timed_out": answer.timed_out}
        if not self.lines and not notes:
            return ToolResult(f"No {unit} matches {pattern!r}.", details=details)
        return ToolResult("\n".join((*self.lines, *notes)), details=details)


TOOLS = (
    Tool("grep", Grep, run_grep, effect="read", timeout_s=TIMEOUT_S + 10),
    Tool("glob", Glob, run_glob, effect="read", timeout_s=TIMEOUT_S + 10),
)
