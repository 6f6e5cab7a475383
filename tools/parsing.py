"""What a model wrote as arguments, made into a validated model or an error it can act on."""

from __future__ import annotations

import copy
import difflib
import json
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from ..errors import ToolError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pydantic_core import ErrorDetails

M = TypeVar("M", bound=BaseModel)

_WANTS_JSON = frozenset(
    {"list_type", "dict_type", "model_type", "model_attributes_type", "tuple_type", "set_type"}
)
_SHOWN_ERRORS = 5
_GIVEN_CHARS = 80
_REPAIRS = 8
"""Rounds of repair; each lifts one level of needless quoting."""


def nearest(name: str, names: Iterable[str], count: int = 3) -> list[str]:
    """The most similar names, best first; upper and lower case count as the same."""
    by_fold = {known.lower(): known for known in names}
    return [by_fold[match] for match in difflib.get_close_matches(name.lower(), by_fold, n=count, cutoff=0.5)]


def decode_object(tool: str, raw: str) -> dict[str, Any]:
    """The JSON object a model sent; nothing at all and `null` mean no arguments.

    Raises:
        ToolError: not JSON, or JSON that is not an object.
    """
    if not raw or raw.isspace():
        return {}
    try:
        # Models put raw line breaks into strings; strict=False takes them.
        value = json.loads(raw, strict=False, parse_constant=_refuse_constant)
        if isinstance(value, str) and value.lstrip().startswith("{"):
            value = json.loads(value, strict=False, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ToolError(
            f"{tool}: the arguments are not valid JSON ({reason}). Send one complete JSON object; "
            "split very long content over several calls."
        ) from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        kind = {list: "an array", str: "a string", bool: "a boolean"}.get(type(value), "a number")
        raise ToolError(f"{tool}: the arguments must be one JSON object, not {kind}.")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def validate(tool: str, model: type[M], values: dict[str, Any]) -> M:
    """Validate with the usual slips put right first.

    `"5"` and `"true"` are taken for a number and a boolean by pydantic itself. Here, JSON text given for
    a list or an object is decoded, and `null` for an argument that has a default means the default.

    Raises:
        ToolError: naming each wrong argument, the nearest known one and the allowed ones.
    """
    errors: list[ErrorDetails] = []
    for _ in range(_REPAIRS):
        try:
            return model.model_validate(values)
        except ValidationError as error:
            errors = error.errors(include_url=False, include_context=True)
        repaired = _repair(values, errors)
        if repaired is None:
            raise ToolError(_explain(tool, model, errors)) from None
        values = repaired
    raise ToolError(_explain(tool, model, errors))


def _repair(values: dict[str, Any], errors: Sequence[ErrorDetails]) -> dict[str, Any] | None:
    repaired = copy.deepcopy(values)
    changed = False
    for error in errors:
        holder, key = _holder(repaired, error["loc"])
        if holder is None:
            continue
        given = holder[key]
        if given is None and isinstance(holder, dict):
            del holder[key]
            changed = True
        elif isinstance(given, str) and error["type"] in _WANTS_JSON:
            try:
                decoded = json.loads(given, strict=False)
            except (ValueError, RecursionError):
                continue
            holder[key] = decoded
            changed = changed or not isinstance(decoded, str)
    return repaired if changed else None


def _holder(values: Any, location: tuple[int | str, ...]) -> tuple[Any, Any]:
    """Container and key of the value at an error's location; tags of unions in it are passed over."""
    holder: Any = None
    key: Any = None
    for part in location:
        inside = values if holder is None else holder[key]
        if (isinstance(inside, dict) and part in inside) or (
            isinstance(inside, list) and isinstance(part, int) and part < len(inside)
        ):
            holder, key = inside, part
    return (holder, key) if holder is not None and location and key == location[-1] else (None, None)


def _explain(tool: str, model: type[BaseModel], errors: Sequence[ErrorDetails]) -> str:
    lines = [_line(model, error) for error in errors[:_SHOWN_ERRORS]]
    if len(errors) > _SHOWN_ERRORS:
        lines.append(f"{len(errors) - _SHOWN_ERRORS} more")
    return f"{tool}: " + "; ".join(lines) + f". Allowed arguments: {_allowed(model)}."


def _line(model: type[BaseModel], error: ErrorDetails) -> str:
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        known = nearest(str(error["loc"][-1]), model.model_fields, 1) if len(error["loc"]) == 1 else []
        return f"unknown argument {where!r}" + (f" (did you mean {known[0]!r}?)" if known else "")
    if error["type"] == "missing":
        return f"missing argument {where!r}"
    given = json.dumps(error["input"], default=str, ensure_ascii=True)
    shown = given if len(given) <= _GIVEN_CHARS else given[:_GIVEN_CHARS] + "..."
    message = error["msg"].removeprefix("Value error, ")
    return f"{where!r}: {message}, got {shown}" if where else message


def _allowed(model: type[BaseModel]) -> str:
    return (
        ", ".join(
            name + (" (required)" if field.is_required() else "")
            for name, field in model.model_fields.items()
        )
        or "none"
    )
