"""What changed between two texts, as a person or a model reads it."""

from __future__ import annotations

import difflib

DIFFED_LINES = 3_000
"""Comparing takes quadratic time: between larger differences only their size is told."""
SHOWN_CHARS = 12_000
_CONTEXT_LINES = 3


def unified(before: str, after: str, name: str) -> str:
    """Unified diff of two texts; empty when they are equal.

    Equal lines at both ends are set aside first, so that the time depends on the change, not on the file.
    """
    if before.replace("\r\n", "\n") != after.replace("\r\n", "\n"):
        # Line ends that stay as they are would only clutter the lines shown.
        before, after = before.replace("\r\n", "\n"), after.replace("\r\n", "\n")
    old, new = _lines(before), _lines(after)
    head = _common(old, new)
    tail = _common(old[head:][::-1], new[head:][::-1])
    start = max(0, head - _CONTEXT_LINES)
    keep = max(0, tail - _CONTEXT_LINES)
    old_part, new_part = old[start : len(old) - keep], new[start : len(new) - keep]
    if old == new:
        return ""
    if len(old_part) + len(new_part) > DIFFED_LINES:
        first = head + 1
        return f"--- {name}\n+++ {name}\n[lines {first}-{len(old) - tail} became {first}-{len(new) - tail}]"
    lines = []
    for line in difflib.unified_diff(old_part, new_part, name, name, n=_CONTEXT_LINES, lineterm=""):
        lines.append(_shifted(line, start) if line.startswith("@@") else line)
    text = "\n".join(lines)
    return text if len(text) <= SHOWN_CHARS else text[:SHOWN_CHARS] + "\n[... the diff goes on ...]"


def _lines(text: str) -> list[str]:
    lines = text.split("\n")
    if lines[-1]:
        lines[-1] += "\n\\ No newline at end of file"
        return lines
    return lines[:-1]


def _common(old: list[str], new: list[str]) -> int:
    limit = min(len(old), len(new))
    return next((index for index in range(limit) if old[index] != new[index]), limit)


def _shifted(header: str, by: int) -> str:
    """A hunk's header with its line numbers counted in the whole file."""
    marks = []
    for mark in header.split(" ")[1:3]:
        first, comma, count = mark[1:].partition(",")
        marks.append(f"{mark[0]}{int(first) + by}{comma}{count}")
    return f"@@ {' '.join(marks)} @@"
