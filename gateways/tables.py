"""Print a table: drawn in a terminal, aligned plain text everywhere else."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, TextIO

from .streams import Writer, is_terminal, without_controls, without_surrogates

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_NUMERIC = frozenset("0123456789.,-+$% ")


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    out: TextIO,
    *,
    env: Mapping[str, str] | None = None,
    empty: str = "",
) -> None:
    """Write rows under their column names; None is an empty cell.

    Nothing is cut when `out` is no terminal. With no rows, only `empty` is written, if given.

    Args:
        columns: names of the columns.
        rows: cells in the order of the columns.
        out: where to.
        env: environment, for `NO_COLOR` and `TERM`.
        empty: one line for "there is nothing".
    """
    cells = [[_cell(value) for value in row] for row in rows]
    if not cells:
        Writer(out).write(f"{empty}\n" if empty else "")
    elif is_terminal(out):
        _draw(columns, cells, out, env or {})
    else:
        Writer(out).write(plain_table(columns, cells))


def plain_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned text, two blanks between columns, numbers to the right; every row is one line."""
    widths = [max(map(_width, column)) for column in zip(columns, *rows, strict=True)]
    right = [all(_is_number(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = []
    for row in (columns, *rows):
        padded = [
            " " * (width - _width(cell)) + cell if to_right else cell + " " * (width - _width(cell))
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ]
        lines.append("  ".join(padded).rstrip() + "\n")
    return "".join(lines)


def _draw(columns: Sequence[str], rows: Sequence[Sequence[str]], out: TextIO, env: Mapping[str, str]) -> None:
    from rich.console import Console  # noqa: PLC0415 - 30 ms, for terminals only
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, column in zip(columns, zip(*rows, strict=True), strict=True):
        table.add_column(name, justify="right" if all(map(_is_number, column)) else "left")
    for row in rows:
        # As Text, since titles may hold what Rich takes for markup.
        table.add_row(*(Text(cell) for cell in row))
    plain = bool(env.get("NO_COLOR")) or env.get("TERM") == "dumb"
    console = Console(file=out, no_color=plain, highlight=False)
    with console.capture() as drawn:
        console.print(table)
    Writer(out).write(drawn.get())


def _cell(value: object) -> str:
    if value is None:
        return ""
    return " ".join(without_controls(without_surrogates(str(value))).split())


def _is_number(cell: str) -> bool:
    return _NUMERIC.issuperset(cell)


def _width(text: str) -> int:
    """Columns a text takes in a terminal."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - sum(unicodedata.combining(character) != 0 for character in text)
