"""Paths as the model writes them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import ToolError
from ..parsing import nearest

if TYPE_CHECKING:
    from ..base import ToolContext

_NAMES = 5_000


def resolve(path: str, context: ToolContext) -> Path:
    """Absolute path with `~` expanded and links followed; it need not exist.

    Raises:
        ToolError: no path can look like this.
    """
    if "\0" in path or not path.strip():
        raise ToolError(f"{path!r} is not a path.")
    home = context.env.get("HOME")
    if home and (path == "~" or path.startswith("~/")):
        path = home + path[1:]
    try:
        return Path(os.path.realpath(context.cwd / Path(path).expanduser()))
    except (RuntimeError, OSError) as error:
        raise ToolError(f"{path!r} is not a path here: {error}") from error


def shown(path: Path, context: ToolContext) -> str:
    """The path as people and models like to read it: relative inside the working directory."""
    try:
        return str(path.relative_to(context.cwd.resolve()))
    except ValueError:
        return str(path)


def missing(path: Path) -> str:
    """One line about a path that is not there, with the nearest names that are."""
    parent = path.parent
    while not parent.is_dir() and parent != parent.parent:
        path, parent = parent, parent.parent
    try:
        names = sorted(entry.name for entry in parent.iterdir())[:_NAMES]
    except OSError:
        names = []
    near = nearest(path.name, names)
    hint = (
        f"Near: {', '.join(str(parent / name) for name in near)}" if near else f"{parent} has no similar name"
    )
    return f"There is no {path}. {hint}."
