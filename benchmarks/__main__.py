"""Measure ml-intern beside the least that could do the same work, and print the table.

    python -m ml_intern.benchmarks [GROUP …] [--quick] [--json FILE] [--model ID]

The exit code is 0 when every figure reaches its limit, 1 when one does not, 2 for wrong usage.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from . import commands, iterations, start
from .bench import Bench
from .child import PROGRAM, RunFailed
from .figure import Figure, heading, row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

GROUPS: dict[str, Callable[[Bench], Iterable[Figure]]] = {
    "showing": commands.showing,
    "first-request": start.first_request,
    "black-hole": start.black_hole,
    "early-gaps": iterations.early_gaps,
    "late-gaps": iterations.late_gaps,
    "disk": iterations.disk,
    "memory": iterations.memory,
    "opening": start.opening,
    "history": commands.history,
    "listing": commands.listing,
}
"""In this order: disk is read before later groups add to the long run's thread."""


QUIET_LOAD = 0.7
"""Load average of the last minute above which other work disturbs."""


def measure(names: Iterable[str], bench: Bench) -> list[Figure]:
    """Measure groups one after another, printing each figure when it is there."""
    if (load := os.getloadavg()[0]) > QUIET_LOAD:
        print(f"The machine is busy (load {load:.1f}): these figures are no verdict.", file=sys.stderr)
    print(heading())
    figures: list[Figure] = []
    for name in names:
        try:
            for result in GROUPS[name](bench):
                figures.append(result)
                print(row(result), flush=True)
        except (RunFailed, LookupError, ValueError) as error:
            # A command that does not work yet, or says something else than agreed, is a figure that failed.
            figures.append(Figure(name, "s", failure=f"{type(error).__name__}: {error}"))
            print(row(figures[-1]), flush=True)
    return figures


def main(argv: list[str] | None = None) -> int:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(
        prog="python -m ml_intern.benchmarks", description=__doc__.splitlines()[0]
    )
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"default: all of {', '.join(GROUPS)}")
    parser.add_argument("--quick", action="store_true", help="few repetitions: a look, not a verdict")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument(
        "--model", default="openai/bench", metavar="ID", help="openai/… or vllm/… (default: %(default)s)"
    )
    parser.add_argument(
        "--program", type=Path, default=PROGRAM, help="what to measure (default: %(default)s)"
    )
    options = parser.parse_args(argv)
    if unknown := sorted(set(options.groups) - set(GROUPS)):
        parser.error(f"no group {', '.join(unknown)}; there are {', '.join(GROUPS)}")
    with tempfile.TemporaryDirectory(prefix="ml-intern-benchmarks-") as folder:
        bench = Bench(Path(folder), options.model, options.quick, options.program)
        figures = measure([name for name in GROUPS if name in (options.groups or GROUPS)], bench)
    if options.json:
        text = json.dumps([result.as_dict() for result in figures], indent=2)
        options.json.write_text(text + "\n", encoding="utf-8")
    return 0 if all(result.ok for result in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
