"""What changed between two texts, as a person or a model reads it."""

from __future__ import annotations

import difflib

DIFFED_LINES = 3_000
"""Comparing takes quadratic time: between larger differences only their size is told."""
SHOWN_CHARS = 12_000
_CONTEXT_LINES = 3
_STEP_CHARS = 1 << 16


def unified(before: str, after: str, name: str) -> str:
    """Unified diff of two texts; empty when they are equal.

    What is equal at both ends is set aside first, so that the time depends on the change, not on the file.
    """
    if before.replace("\r\n", "\n") != after.replace("\r\n", "\n"):
        # Line ends that stay as they are would only clutter the lines shown.
        before, after = before.replace("\r\n", "\n"), after.replace("\r\n", "\n")
    if before == after:
        return ""
    head = _head(before, after)
    tail = _tail(before, after, head)
    first = before.count("\n", 0, head)
    old, new = _lines(before[head : len(before) - tail]), _lines(after[head : len(after) - tail])
    if len(old) + len(new) > DIFFED_LINES:
        return (
            f"--- {name}\n+++ {name}\n[about {len(old):,} lines from line {first + 1} on became {len(new):,}]"
        )
    diff = difflib.unified_diff(old, new, name, name, n=_CONTEXT_LINES, lineterm="")
    text = "\n".join(_shifted(line, first) if line.startswith("@@") else line for line in diff)
    return text if len(text) <= SHOWN_CHARS else text[:SHOWN_CHARS] + "\n[... the diff goes on ...]"


def _head(before: str, after: str) -> int:
    """Length of the equal start, given back to whole lines and those shown around a change."""
    at, limit = 0, min(len(before), len(after))
    step = _STEP_CHARS
    while step and at < limit:
        if before[at : at + step] == after[at : at + step] and at + step <= limit:
            at += step
        else:
            step //= 2
    for _ in range(_CONTEXT_LINES + 1):
        at = before.rfind("\n", 0, at)
        if at < 0:
            return 0
    return at + 1


def _tail(before: str, after: str, head: int) -> int:
    """Length of the equal end, likewise; it does not reach into the start."""
    length, limit = 0, min(len(before), len(after)) - head
    step = _STEP_CHARS
    while step and length < limit:
        end, other_end = len(before) - length, len(after) - length
        if length + step <= limit and before[end - step : end] == after[other_end - step : other_end]:
            length += step
        else:
            step //= 2
    at = len(before) - length
    for _ in range(_CONTEXT_LINES + 1):
        at = before.find("\n", at)
        if at < 0:
            return 0
        at += 1
    return len(before) - at


def _lines(text: str) -> list[str]:
    lines = text.split("\n")
    if lines[-1]:
        lines[-1] += "\n\\ No newline at end of file"
        return lines
    return lines[:-1]


def _shifted(header: str, by: int) -> str:
    """A hunk's header with its line numbers counted in the whole file."""
    marks = []
    for mark in header.split(" ")[1:3]:
        first, comma, count = mark[1:].partition(",")
        marks.append(f"{mark[0]}{int(first) + by}{comma}{count}")
    return f"@@ {' '.join(marks)} @@"
