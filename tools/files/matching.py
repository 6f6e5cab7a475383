"""Find the place an edit means: exactly, then whatever the white space, then whatever the typography.

A place is never wider than what was matched: white space and characters around it stay.
"""

from __future__ import annotations

import bisect
import difflib
import re
import unicodedata
from array import array
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
_CLOSEST_LINES = 5_000


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
    # Only lines that hold the longest word of the pattern are looked at: a file has many, a pattern few.
    token, anchor = max(
        ((word, index) for index, key in enumerate(keys) for word in key.split(" ")), key=_length
    )
    places: list[Place] = []
    at = text.find(token)
    while at >= 0:
        first = _lines_back(text, at, anchor)
        lines = _lines_from(text, first, len(keys)) if first is not None else []
        fits = [_key(text[start:end]) for start, end in lines] == keys
        if fits and first is not None and not (ends_line and lines[-1][1] >= len(text)):
            place = _block_place([text[start:end] for start, end in lines], wanted, lines, how, ends_line)
            if not places or place.start >= places[-1].end:
                places.append(place)
        end = text.find("\n", at)
        at = text.find(token, end) if end >= 0 else -1
    return places


def _length(pair: tuple[str, int]) -> int:
    return len(pair[0])


def _lines_back(text: str, at: int, count: int) -> int | None:
    """Start of the line that many lines above the one a place is in."""
    for _ in range(count):
        at = text.rfind("\n", 0, at)
        if at < 0:
            return None
    return text.rfind("\n", 0, at) + 1


def _lines_from(text: str, start: int, count: int) -> list[tuple[int, int]]:
    """Start and end of that many lines, or of as many as there are."""
    lines: list[tuple[int, int]] = []
    while len(lines) < count and start <= len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        lines.append((start, end))
        start = end + 1
    return lines


def _block_place(
    found: list[str], wanted: list[str], lines: list[tuple[int, int]], how: How, ends_line: bool
) -> Place:
    pairs = [
        (_indent(mine), _indent(theirs)) for mine, theirs in zip(wanted, found, strict=True) if mine.strip()
    ]
    indent = _offset(pairs, 0)
    start = lines[0][0]
    if indent is None and len(pairs) > 1 and wanted[0].strip() and pairs[0][1].endswith(pairs[0][0]):
        # The first line was given from its text on, the others with their indentation.
        indent = _offset(pairs[1:], 1)
        start += len(pairs[0][1]) - len(pairs[0][0]) if indent else 0
    last = found[-1]
    # White space at the end of the last line was not asked for, unless the pattern goes on to the line's end.
    end = lines[-1][0] + (len(last) + 1 if ends_line else len(last.rstrip(" \t\f\v")))
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
        # Of each replaced cluster: place and length here, place and length in the original. (Arrays, since
        # a hundred thousand tuples would keep the garbage collector busy.)
        self._places, self._lengths = array("q"), array("q")
        self._original_places, self._original_lengths = array("q"), array("q")
        at, length = 0, 0
        for match in _CLUSTER.finditer(original):
            pieces.append(original[at : match.start()])
            length += match.start() - at
            plain = unicodedata.normalize("NFKC", match[0].translate(_FOLDED)).translate(_FOLDED)
            self._places.append(length)
            self._lengths.append(len(plain))
            self._original_places.append(match.start())
            self._original_lengths.append(len(match[0]))
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
        index = bisect.bisect_right(self._places, at) - 1
        # A cluster that starts here and is not empty holds the place itself.
        while index >= 0 and self._places[index] == at and self._lengths[index]:
            index -= 1
        return self._behind(index, at)

    def _end(self, at: int) -> int | None:
        # Empty clusters (zero-width characters) at the end were not asked for.
        return self._behind(bisect.bisect_left(self._places, at) - 1, at)

    def _behind(self, index: int, at: int) -> int | None:
        if index < 0:
            return at
        over = at - self._places[index] - self._lengths[index]
        return self._original_places[index] + self._original_lengths[index] + over if over >= 0 else None


def closest(text: str, pattern: str) -> tuple[int, int] | None:
    """Lines (from, to, counted from 1) that look most like a pattern that was not found."""
    lines = text.split("\n", _CLOSEST_LINES)[:_CLOSEST_LINES]
    wanted = pattern.strip("\n").split("\n")
    key = max((line.strip() for line in wanted), key=len)
    holding = [line.strip() for line in lines if key and key in line]
    near = holding or difflib.get_close_matches(key, {line.strip() for line in lines}, n=1, cutoff=0.6)
    if not key or not near:
        return None
    anchor = next(index for index, line in enumerate(wanted) if line.strip() == key)
    number = next(index for index, line in enumerate(lines) if line.strip() == near[0])
    first = max(0, number - anchor)
    return first + 1, min(len(lines), first + len(wanted))
