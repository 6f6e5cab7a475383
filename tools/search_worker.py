"""Search files by name or content; run as a script of its own, the question as JSON on stdin.

A process, because a regular expression may take for ever and hold the interpreter's lock meanwhile:
this one can be killed. Only the standard library. Prints the same lines as ripgrep.
"""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

JUNK = frozenset({"node_modules", "__pycache__", "venv", "site-packages"})
"""Directories that hold nobody's own work; searched only when named."""
FILE_LIMIT_BYTES = 50_000_000


def glob_pattern(glob: str) -> re.Pattern[str]:
    """A glob as a regular expression on relative paths: `**/`, `*`, `?`, `[...]`, `{a,b}`."""
    result, at, braces = "", 0, 0
    while at < len(glob):
        char = glob[at]
        at += 1
        if glob.startswith("**/", at - 1):
            result += "(?:[^/]+/)*"
            at += 2
        elif glob.startswith("**", at - 1):
            result += ".*"
            at += 1
        elif char == "[" and (end := glob.find("]", at + 1)) > 0:
            inside = glob[at:end].replace("\\", r"\\").replace("[", r"\[")
            result += f"[{'^' + inside[1:] if inside[0] in '!^' else inside}]"
            at = end + 1
        elif char == "{" and "}" in glob[at:]:
            result += "(?:"
            braces += 1
        elif char in ",}" and braces:
            result += "|" if char == "," else ")"
            braces -= char == "}"
        else:
            result += {"*": "[^/]*", "?": "[^/]"}.get(char, re.escape(char))
    return re.compile(result + r"\Z", re.DOTALL)


def matcher(glob: str) -> Callable[[str], bool]:
    """Whether a relative path is meant; a glob without a slash is about names, as in ripgrep."""
    pattern = glob_pattern(glob.removeprefix("./").removeprefix("/"))
    if "/" in glob:
        return lambda path: bool(pattern.match(path))
    return lambda path: bool(pattern.match(path.rpartition("/")[2]))


def walk(root: str, named: str = "") -> Iterator[str]:
    """Relative paths of all files below, hidden and junk directories left out unless the glob names them."""
    parts = set(named.split("/"))
    hidden = any(part.startswith(".") and part not in {".", ".."} for part in parts)
    for directory, names, files in os.walk(root):
        names[:] = sorted(
            name
            for name in names
            if name in parts or not (name in JUNK or name == ".git" or (name[0] == "." and not hidden))
        )
        prefix = os.path.relpath(directory, root)
        for name in files:
            if hidden or name[0] != ".":
                yield name if prefix == "." else f"{prefix}/{name}"


def tracked(root: str) -> list[str] | None:
    """Files below that git does not ignore; None outside of a work tree."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"]
    try:
        listed = subprocess.run(command, cwd=root, capture_output=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if listed.returncode:
        return None
    paths = listed.stdout.decode("utf-8", "surrogateescape").split("\0")
    return sorted(path for path in paths if path and not any(part[0] == "." for part in path.split("/")))


def find(question: dict[str, Any]) -> Iterator[str]:
    """Paths whose name matches, newest first."""
    root = question["root"]
    glob = question["pattern"]
    # Here a glob without a slash means this very directory, as in a shell.
    pattern = glob_pattern(glob.removeprefix("./"))
    found = []
    for path in walk(root, glob):
        if pattern.match(path):
            try:
                found.append((-os.lstat(f"{root}/{path}").st_mtime_ns, path))
            except OSError:
                continue
    found.sort()
    yield from (path for _, path in found)


def grep(question: dict[str, Any]) -> Iterator[str]:
    """Matching lines, files or counts."""
    flags = re.IGNORECASE if question["case_insensitive"] else 0
    pattern = re.compile(question["pattern"], flags)
    root = question["root"]
    if stat.S_ISREG(os.stat(root).st_mode):  # noqa: PTH116 - pathlib costs 15 ms of this start
        yield from _grep_file(root, root, pattern, question)
        return
    wanted = matcher(question["glob"]) if question["glob"] else None
    for path in tracked(root) or walk(root, question["glob"] or ""):
        if wanted is None or wanted(path):
            yield from _grep_file(f"{root}/{path}", path, pattern, question)


def _grep_file(path: str, shown: str, pattern: re.Pattern[str], question: dict[str, Any]) -> Iterator[str]:
    try:
        info = os.stat(path)  # noqa: PTH116 - as above
        if not stat.S_ISREG(info.st_mode) or info.st_size > FILE_LIMIT_BYTES:
            return
        with open(path, "rb") as file:  # noqa: PTH123 - as above
            data = file.read()
    except OSError:
        return
    if b"\0" in data[:8192]:
        return
    lines = data.decode("utf-8", "replace").replace("\r\n", "\n").removesuffix("\n").split("\n")
    hits = [number for number, line in enumerate(lines) if pattern.search(line)]
    if hits and question["output_mode"] == "files":
        yield shown
    elif hits and question["output_mode"] == "count":
        yield f"{shown}:{len(hits)}"
    elif hits:
        yield from _with_context(shown, lines, hits, question["context"])


def _with_context(shown: str, lines: list[str], hits: list[int], context: int) -> Iterator[str]:
    marked, last = set(hits), None
    for hit in hits:
        first = max(hit - context, 0 if last is None else last + 1)
        if context and last is not None and first > last + 1:
            yield "--"
        for number in range(first, min(hit + context, len(lines) - 1) + 1):
            if last is None or number > last:
                mark = ":" if number in marked else "-"
                yield f"{shown}{mark}{number + 1}{mark}{lines[number]}"
                last = number


def main() -> None:
    """Answer the question on stdin."""
    question = json.load(sys.stdin)
    try:
        for line in (grep if question["kind"] == "grep" else find)(question):
            sys.stdout.buffer.write(line[: question["line_chars"]].encode("utf-8", "replace") + b"\n")
            sys.stdout.buffer.flush()
    except re.error as error:
        sys.exit(f"{question['pattern']!r} is no regular expression: {error}")


if __name__ == "__main__":
    main()
