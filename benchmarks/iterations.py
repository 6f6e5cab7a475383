"""What one iteration costs, early and late, and what a long run leaves in memory and on disk."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from .child import environment, python, run
from .figure import Figure, figure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .bench import Bench, Long

EARLY = slice(4, 50)
"""Iterations 5 to 50: caches are warm, the history is short."""
LATE = slice(249, 298)
"""Iterations 250 to 298."""


def early_gaps(bench: Bench) -> Iterator[Figure]:
    """The gap between an answer and the next request, each iteration running `true`."""
    pairs = bench.short_runs
    ours, bare = [_gap(a, EARLY) for a, _ in pairs], [_gap(b, EARLY) for _, b in pairs]
    yield figure("gap per iteration, 5-50", "ms", ours, bare, times=1.2)


def late_gaps(bench: Bench) -> Iterator[Figure]:
    """The same late in a long run with results of 2 KB."""
    pairs = bench.long_runs
    late = [_gap(ours, LATE) for ours, _ in pairs]
    yield figure("gap per iteration, 250-298", "ms", late, [_gap(bare, LATE) for _, bare in pairs], times=0.5)
    yield figure(
        "the same against our own 5-50", "ms", late, [_gap(ours, EARLY) for ours, _ in pairs], times=1.5
    )


def disk(bench: Bench) -> Iterator[Figure]:
    """Bytes kept of 300 iterations beside the JSON of their history."""
    runs = [ours for ours, _ in bench.long_runs]
    kept = [float(_bytes_on_disk(ours)) for ours in runs]
    history = [float(ours.journal[-1]["body_bytes"] - ours.journal[0]["body_bytes"]) for ours in runs]
    yield figure("bytes on disk after 300 iterations", "MB", kept, history, times=8.0)


def memory(bench: Bench) -> Iterator[Figure]:
    """Peak memory of 300 iterations beside the imports they need."""
    home = bench.new_folder("home")
    env = environment(home, LITELLM_LOCAL_MODEL_COST_MAP="True")
    command = python("import litellm, langgraph.graph")
    floor = [float(run(command, env, home).peak_bytes) for _ in range(bench.times(3, 1))]
    ours = [float(long.run.peak_bytes) for long, _ in bench.long_runs]
    yield figure("peak memory of 300 iterations", "MB", ours, floor, times=1.35)


def _gap(long: Long, part: slice) -> float:
    return median(long.gaps[part])


def _bytes_on_disk(long: Long) -> int:
    files = (long.home / "ml-intern").rglob("*")
    return sum(path.stat().st_size for path in files if path.is_file())
