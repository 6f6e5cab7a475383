"""Where settings come from: JSON files, laid over each other, each value knowing its file and line."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from .substitution import SubstitutionError, expand

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

KeyPath = tuple[str | int, ...]

COMMENT = "//"
"""A key that begins so is a comment: JSON has no other place for one."""

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]')


@dataclass(frozen=True, slots=True)
class Source:
    """One layer of settings and the words that name it to the person."""

    label: str
    """A file's path, `environment`, or `command line`."""
    values: dict[str, Any]
    text: str | None = None
    """The file as written, for line numbers; None when it is no file."""
    names: dict[str, str] = field(default_factory=dict)
    """Key -> what the person wrote it as: `ML_INTERN_MAX_COST`, `--max-cost`."""

    def place(self, path: KeyPath) -> str:
        """Where a value stands: `file:line: key`, `--flag`, `ML_INTERN_X`."""
        if name := self.names.get(str(path[0])):
            return name
        dotted = ".".join(str(part) for part in path)
        line = line_of(self.text, path) if self.text else None
        return f"{self.label}:{line}: {dotted}" if line else f"{self.label}: {dotted}"


def read_json_source(path: Path) -> Source:
    """Read one settings file.

    Raises:
        UserError: it cannot be read, is not JSON (naming line and column), or is not an object.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text at byte {error.start}; save it as UTF-8.") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}.") from error
    try:
        values = json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise UserError(f"{path}:{error.lineno}:{error.colno}: not valid JSON: {error.msg}.") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not usable: {error}.") from error
    if not isinstance(values, dict):
        raise UserError(f"{path}:1: settings must be a JSON object, not {type(values).__name__}.")
    return Source(str(path), values, text)


def line_of(text: str, path: KeyPath) -> int | None:
    """Line, from 1, of the key at `path` in a valid JSON text, or of the nearest key around it, if any."""
    lines: dict[KeyPath, int] = {}
    where: list[str | int] = []
    previous = ""
    at = 0
    for match in _TOKEN.finditer(text):
        token = match.group()
        if token in "{[":
            where.append(0 if token == "[" else "")
        elif token in "}]":
            where.pop()
        elif token == "," and isinstance(where[-1], int):
            where[-1] += 1
        elif token == ":":
            where[-1] = json.loads(previous)
            lines.setdefault(tuple(where), text.count("\n", 0, at) + 1)
        previous, at = token, match.start()
    for length in range(len(path), 0, -1):
        if line := lines.get(path[:length]):
            return line
    return None


@dataclass(slots=True)
class Merged:
    """Settings of several sources laid over each other: objects merge, everything else is replaced."""

    values: dict[str, Any] = field(default_factory=dict)
    owners: dict[KeyPath, Source] = field(default_factory=dict)

    def lay(self, source: Source) -> None:
        """Put one more source on top."""
        self._lay(self.values, source.values, source, ())

    def owner(self, path: Sequence[str | int]) -> Source | None:
        """The source that set the value at `path`; of an object, the last that set any part of it."""
        wanted = tuple(path)
        related = [
            source
            for known, source in self.owners.items()
            if known == wanted[: len(known)] or wanted == known[: len(wanted)]
        ]
        return related[-1] if related else None

    def own(self, path: KeyPath, source: Source) -> None:
        """Say that `source` set the value at `path` and all of it."""
        for stale in [known for known in self.owners if known[: len(path)] == path]:
            del self.owners[stale]
        self.owners[path] = source  # at the end: `owner` takes the last that was laid

    def substituted(self, lookup: Callable[[str], str | None]) -> dict[str, Any]:
        """The values with every `${…}` expanded.

        Raises:
            UserError: naming file, line, key and variable.
        """
        expanded: dict[str, Any] = self._substituted(self.values, (), lookup)
        return expanded

    def _lay(self, target: dict[str, Any], values: dict[str, Any], source: Source, above: KeyPath) -> None:
        for key, value in values.items():
            path = (*above, key)
            if isinstance(value, dict) and isinstance(target.get(key), dict):
                self._lay(target[key], value, source, path)
                continue
            target[key] = copy.deepcopy(value)
            self.own(path, source)

    def _substituted(self, value: Any, path: KeyPath, lookup: Callable[[str], str | None]) -> Any:
        if isinstance(value, dict):
            return {key: self._substituted(item, (*path, key), lookup) for key, item in value.items()}
        if isinstance(value, list):
            return [self._substituted(item, (*path, index), lookup) for index, item in enumerate(value)]
        owner = self.owner(path)
        # What a variable or a flag holds is taken as it is, as in a shell.
        if not isinstance(value, str) or owner is None or owner.text is None:
            return value
        try:
            return expand(value, lookup)
        except SubstitutionError as error:
            raise UserError(f"{owner.place(path)}: {error}.") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key.startswith(COMMENT):
            continue
        if key in values:
            # JSON would keep the last silently, and with it drop, say, a list of deny rules.
            raise ValueError(f"key {key!r} stands twice in one object")
        values[key] = value
    return values


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")
