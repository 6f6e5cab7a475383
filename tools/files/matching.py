"""Find the place an edit means: exactly, then whatever the white space, then whatever the typography.

A place is never wider than what was matched: white space and characters around it stay.
"""

from __future__ import annotations

import bisect
import difflib
import re
import unicodedata
from dataclasses import dataclass
from typing import Literal

How = Literal["exact", "white space", "typography", "white space and typography"]

_BLANKS = re.compile(r"[ \t\f\v]+")
_CLUSTER = re.compile("[^\x00-\x7f][\u0300-\u036f]*|[\x00-\x7f][\u0300-\u036f]+")
_FOLDED = {
    **dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2015\u2212"), "-"),
    **dict.fromkeys(map(ord, "\u2018\u2019\u201a\u201b\u2032"), "'"),
    **dict.fromkeys(map(ord, "\u201c\u201d\u201e\u201f\u2033"), '"'),
    **dict.fromkeys((0xA0, 0x1680, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000), " "),
    **dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff\u00ad"), ""),
}  # fmt: skip
_CLOSEST_LINES = 20_000


@dataclass(frozen=True, slots=True)
class Place:
    """A match: `text[start:end]`."""

    start: int
    end: int
    how: How
    indent: Indent | None = None
    """How the indentation of new text must change to fit; None: not at all."""


@dataclass(frozen=True, slots=True)
class Indent:
    """From the indentation a pattern has to the one the file has."""

    removed: str
    added: str
    known: tuple[tuple[str, str], ...]
    """Pairs seen in the match, for indentations that do not share one offset (tabs against blanks)."""
    from_line: int
    """First line of the new text that is shifted: 1 when the pattern began within a line."""

    def apply(self, text: str) -> str | None:
        """New text shifted like the pattern; None when one of its lines cannot be."""
        lines = text.split("\n")
        pairs = dict(self.known)
        for number, line in enumerate(lines[self.from_line :], self.from_line):
            content = line.lstrip(" \t")
            indent = line[: len(line) - len(content)]
            if not content:
                continue
            if indent in pairs:
                lines[number] = pairs[indent] + content
            elif self.known or not indent.startswith(self.removed):
                return None
            else:
                lines[number] = self.added + line[len(self.removed) :]
        return "\n".join(lines)


def find(text: str, pattern: str) -> list[Place]:
    """All places a pattern may mean, of the first kind of match that has any, in order.

    Args:
        text: the file, line ends as `\\n`.
        pattern: what is looked for, line ends as `\\n`, not empty.
    """
    if places := [Place(start, start + len(pattern), "exact") for start in _occurrences(text, pattern)]:
        return places
    if not pattern.strip():
        return []
    if places := _blocks(text, pattern, "white space"):
        return places
    if text.isascii() and pattern.isascii():
        return []
    folded = Folded(text)
    sought = Folded(pattern).text
    if not sought.strip():
        return []
    places = [Place(start, start + len(sought), "typography") for start in _occurrences(folded.text, sought)]
    if spans := folded.back(places):
        return spans
    return folded.back(_blocks(folded.text, sought, "white space and typography"))


def _occurrences(text: str, pattern: str) -> list[int]:
    starts, start = [], text.find(pattern)
    while start >= 0:
        starts.append(start)
        start = text.find(pattern, start + len(pattern))
    return starts


def _key(line: str) -> str:
    return _BLANKS.sub(" ", line).strip(" ")


def _blocks(text: str, pattern: str, how: How) -> list[Place]:
    """Runs of whole lines that equal the pattern's but for white space."""
    ends_line = pattern.endswith("\n")
    wanted = (pattern[:-1] if ends_line else pattern).split("\n")
    keys = [_key(line) for line in wanted]
    lines = text.split("\n")
    anchor = next(index for index, key in enumerate(keys) if key)
    starts = _line_starts(lines)
    places: list[Place] = []
    for number in range(anchor, len(lines) - len(keys) + anchor + 1):
        if _key(lines[number]) != keys[anchor]:
            continue
        first = number - anchor
        found = lines[first : first + len(keys)]
        if [_key(line) for line in found] != keys or (ends_line and first + len(keys) >= len(lines)):
            continue
        place = _block_place(found, wanted, starts[first : first + len(keys)], how, ends_line)
        if not places or place.start >= places[-1].end:
            places.append(place)
    return places


def _line_starts(lines: list[str]) -> list[int]:
    starts, at = [], 0
    for line in lines:
        starts.append(at)
        at += len(line) + 1
    return starts


def _block_place(found: list[str], wanted: list[str], starts: list[int], how: How, ends_line: bool) -> Place:
    pairs = [
        (_indent(mine), _indent(theirs)) for mine, theirs in zip(wanted, found, strict=True) if mine.strip()
    ]
    indent = _offset(pairs, 0)
    start = starts[0]
    if indent is None and len(pairs) > 1 and wanted[0].strip() and pairs[0][1].endswith(pairs[0][0]):
        # The first line was given from its text on, the others with their indentation.
        indent = _offset(pairs[1:], 1)
        start += len(pairs[0][1]) - len(pairs[0][0])
    last = found[-1]
    # White space at the end of the last line was not asked for, unless the pattern goes on to the line's end.
    end = starts[-1] + (len(last) + 1 if ends_line else len(last.rstrip(" \t\f\v")) or 0)
    if indent is None:
        known = dict(pairs)
        consistent = all(known[mine] == theirs for mine, theirs in pairs)
        indent = Indent("", "", tuple(known.items()) if consistent else (("\0", ""),), 0)
    return Place(start, max(end, start), how, indent)


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip(" \t"))]


def _offset(pairs: list[tuple[str, str]], from_line: int) -> Indent | None:
    """The one change of indentation that all lines share."""
    mine, theirs = min(pairs, key=lambda pair: len(pair[0]))
    if theirs.endswith(mine):
        removed, added = "", theirs[: len(theirs) - len(mine)]
    elif mine.endswith(theirs):
        removed, added = mine[: len(mine) - len(theirs)], ""
    else:
        return None
    fits = all(a.startswith(removed) and added + a[len(removed) :] == b for a, b in pairs)
    return Indent(removed, added, (), from_line) if fits else None


class Folded:
    """A text with typography made plain, and the way back to places in the original."""

    def __init__(self, original: str) -> None:
        pieces: list[str] = []
        self._folded_at: list[int] = []
        self._clusters: list[tuple[int, int, int, int]] = []
        """Of each replaced cluster: place and length folded, place and length in the original."""
        at, length = 0, 0
        for match in _CLUSTER.finditer(original):
            pieces.append(original[at : match.start()])
            length += match.start() - at
            plain = unicodedata.normalize("NFKC", match[0].translate(_FOLDED)).translate(_FOLDED)
            self._folded_at.append(length)
            self._clusters.append((length, len(plain), match.start(), len(match[0])))
            pieces.append(plain)
            length += len(plain)
            at = match.end()
        pieces.append(original[at:])
        self.text = "".join(pieces)

    def back(self, places: list[Place]) -> list[Place]:
        """The same places in the original; those that begin or end within a character are none."""
        spans = []
        for place in places:
            start, end = self._start(place.start), self._end(place.end)
            if start is not None and end is not None and start < end:
                spans.append(Place(start, end, place.how, place.indent))
        return spans

    def _start(self, at: int) -> int | None:
        index = bisect.bisect_right(self._folded_at, at) - 1
        # A cluster that starts here and is not empty holds the place itself.
        while index >= 0 and self._clusters[index][0] == at and self._clusters[index][1]:
            index -= 1
        return self._behind(index, at)

    def _end(self, at: int) -> int | None:
        # Empty clusters (zero-width characters) at the end were not asked for.
        index = bisect.bisect_left(self._folded_at, at) - 1
        return self._behind(index, at)

    def _behind(self, index: int, at: int) -> int | None:
        if index < 0:
            return at
        folded, folded_length, original, original_length = self._clusters[index]
        over = at - folded - folded_length
        return original + original_length + over if over >= 0 else None


def closest(text: str, pattern: str) -> tuple[int, int] | None:
    """Lines (from, to, counted from 1) that look most like a pattern that was not found."""
    lines = text.split("\n")[:_CLOSEST_LINES]
    wanted = pattern.strip("\n").split("\n")
    key = max((line.strip() for line in wanted), key=len)
    near = difflib.get_close_matches(key, {line.strip() for line in lines if line.strip()}, n=1, cutoff=0.6)
    if not near:
        return None
    anchor = next(index for index, line in enumerate(wanted) if line.strip() == key)
    number = next(index for index, line in enumerate(lines) if line.strip() == near[0])
    first = max(0, number - anchor)
    return first + 1, min(len(lines), first + len(wanted))
