"""Kill runs at many points: `python -m ml_intern.tests.crash --points 60 --seed 7`, or `--every-tick`."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

from .launch import Cold, Warm
from .points import Point, choose, every_tick, measure
from .resume import try_point


def main() -> int:
    """Print one line a point; 1 when anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=60, help="how many instants to kill at")
    parser.add_argument("--seed", type=int, default=1, help="chooses the instants")
    parser.add_argument("--every-tick", action="store_true", help="at each commit, spawn, rename, connect")
    parser.add_argument("--only", help="one point by its name, as printed")
    parser.add_argument("--cold", action="store_true", help="start each run by the console script")
    parser.add_argument("--parallel", type=int, default=2)
    options = parser.parse_args()
    failed = 0
    started = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="crash-") as folder,
        nullcontext(Cold()) if options.cold else Warm() as launcher,
        ThreadPoolExecutor(options.parallel) as pool,
    ):
        root = Path(folder)
        if options.only:
            phase, kind, value, wire = options.only.split("/")
            points = [Point(phase, kind, value, wire)]
        else:
            course = measure(root / "measure", launcher)
            chosen = choose(course, options.points, options.seed)
            points = every_tick(course) if options.every_tick else chosen
        outcomes = pool.map(lambda pair: try_point(pair[1], root / str(pair[0]), launcher), enumerate(points))
        for point, wrong in zip(points, outcomes, strict=True):
            failed += bool(wrong)
            print(f"{'FAIL' if wrong else 'ok  '} {point}", *wrong, sep="\n     ", flush=True)  # noqa: T201
    print(f"{len(points) - failed} of {len(points)} points held, {time.monotonic() - started:.0f} s")  # noqa: T201
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
