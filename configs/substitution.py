"""Expand `${VAR}` in settings the way a POSIX shell expands it inside double quotes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_BODY = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?:(?P<operator>:?-)(?P<default>.*))?", re.DOTALL)


class SubstitutionError(ValueError):
    """A `${…}` that cannot be expanded; the text says which and why."""


def expand(text: str, lookup: Callable[[str], str | None]) -> str:
    r"""Expand every `${…}` of `text`.

    `${A}` is the value of A; `${A:-text}` is `text` when A is unset or empty; `${A-text}` only when it is
    unset. The default may hold further `${…}`. `\${A}` stays the literal `${A}`, and `$A` is left alone.
    Values are not expanded again, so a variable can hold any text.

    Raises:
        SubstitutionError: a variable without default is unset, or the expression is none of the above.
    """
    done: list[str] = []
    at = 0
    while (start := text.find("${", at)) >= 0:
        if start > at and text[start - 1] == "\\":
            done.append(text[at : start - 1] + "${")
            at = start + 2
            continue
        end = _closing_brace(text, start + 2)
        done.append(text[at:start])
        done.append(_value(text[start + 2 : end], lookup))
        at = end + 1
    done.append(text[at:])
    return "".join(done)


def _closing_brace(text: str, start: int) -> int:
    depth = 1
    for match in re.compile(r"\$\{|\}").finditer(text, start):
        depth += 1 if match.group() == "${" else -1
        if depth == 0:
            return match.start()
    raise SubstitutionError(f"{text[start - 2 :][:40]!r} has no closing brace")


def _value(body: str, lookup: Callable[[str], str | None]) -> str:
    match = _BODY.fullmatch(body)
    if match is None:
        raise SubstitutionError(
            f"'${{{body[:40]}}}' is not understood; write ${{NAME}} or ${{NAME:-default}}, "
            "or \\${ for these characters themselves"
        )
    name, operator, default = match["name"], match["operator"], match["default"]
    value = lookup(name)
    if operator is None:
        if value is None:
            raise SubstitutionError(f"variable {name} is not set; set it, or write ${{{name}:-default}}")
        return value
    missing = value is None if operator == "-" else not value
    if missing or value is None:
        return expand(default, lookup)
    return value
