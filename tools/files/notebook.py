"""A Jupyter notebook as text: cells with source and outputs; run as a script, notebook on stdin."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

_OUTPUT_CHARS = 2_000
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def render(data: bytes) -> str:
    """The notebook's cells in order, numbered from 1.

    Raises:
        ValueError: no notebook.
    """
    notebook = json.loads(data)
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if not isinstance(cells, list):
        raise ValueError("no cells")  # noqa: TRY004 - it is the content that is wrong, not a type in this program
    return "\n".join(line for number, cell in enumerate(cells, 1) for line in _cell(number, cell))


def _cell(number: int, cell: dict[str, Any]) -> list[str]:
    count = cell.get("execution_count")
    lines = [
        f"# --- cell {number} [{cell.get('cell_type', 'raw')}]" + (f" executed as {count}" if count else "")
    ]
    lines += _text(cell.get("source")).split("\n")
    for output in cell.get("outputs") or []:
        lines += [f"# output: {_kind(output)}", *_output(output).split("\n")]
    return [*lines, ""]


def _kind(output: dict[str, Any]) -> str:
    data = output.get("data")
    kinds = ", ".join(data) if isinstance(data, dict) else output.get("name", "")
    return f"{output.get('output_type', '')} {kinds}".strip()


def _output(output: dict[str, Any]) -> str:
    if output.get("output_type") == "error":
        text = "\n".join(output.get("traceback") or [f"{output.get('ename')}: {output.get('evalue')}"])
    elif "text" in output:
        text = _text(output["text"])
    else:
        data = output.get("data") or {}
        plain = next(
            (data[kind] for kind in ("text/plain", "text/markdown", "text/html") if kind in data), ""
        )
        text = _text(plain)
    text = _COLOURS.sub("", text).rstrip("\n")
    if len(text) <= _OUTPUT_CHARS:
        return text
    # The end of an output (the last epoch, the error) tells most.
    return f"[... {len(text) - _OUTPUT_CHARS:,} characters left out ...]\n{text[-_OUTPUT_CHARS:]}"


def _text(source: Any) -> str:
    return "".join(map(str, source)) if isinstance(source, list) else str(source or "")


if __name__ == "__main__":
    try:
        text = render(sys.stdin.buffer.read())
    except (ValueError, AttributeError, TypeError, RecursionError):
        sys.exit(1)
    sys.stdout.buffer.write(text.encode("utf-8", "replace"))
