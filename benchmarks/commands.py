"""Commands that call no model: they must start nearly as fast as their imports."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from .bench import interleave
from .child import environment, python, run
from .figure import Figure, figure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .bench import Bench

SHOWING = python("import typer, rich.console, rich.table, rich.panel")
READING = python("import typer, pydantic, sqlalchemy.orm, rich.table")


def showing(bench: Bench) -> Iterator[Figure]:
    """--help and --version."""
    home = bench.new_folder("home")
    for option in ("--help", "--version"):
        yield figure(f"ml-intern {option}", "s", *_both(bench, [option], SHOWING, home), times=1.5)


def listing(bench: Bench) -> Iterator[Figure]:
    """`threads list` over fifty threads."""
    home = bench.new_folder("home")
    count = bench.times(50, 10)
    with bench.serve({"steps": ["Hello."], "after_end": "last"}) as server:
        env = bench.model_environment(home, server.base_url)
        with ThreadPoolExecutor(2) as pool:
            jobs = [pool.submit(bench.headless, "hi", env, "-t", f"bench-{n:02d}") for n in range(count)]
            for job in jobs:
                job.result()
    name = f"ml-intern threads list ({count} threads)"
    yield figure(name, "s", *_both(bench, ["threads", "list"], READING, home), times=1.4)


def history(bench: Bench) -> Iterator[Figure]:
    """`history` of a thread of 300 iterations, which are about 1,500 steps."""
    ours, _ = bench.long_runs[0]
    words = ["history", thread_id(ours.run.stdout)]
    yield figure(
        "ml-intern history (300 iterations)",
        "s",
        *_both(bench, words, READING, ours.home),
        times=1.4,
        plus=0.3,
    )


def thread_id(stdout: bytes) -> str:
    """The thread a headless run with `-o json` was in."""
    return str(json.loads(stdout)["thread_id"])


def _both(bench: Bench, words: list[str], floor: list[str], home: Path) -> tuple[list[float], list[float]]:
    """Wall times of the product and of the floor; one warming run of each is thrown away."""
    env = environment(home)
    pairs = interleave(
        bench.times(15, 5) + 1,
        lambda: run([str(bench.program), *words], env, home).wall_s,
        lambda: run(floor, env, home).wall_s,
    )[1:]
    return [ours for ours, _ in pairs], [bare for _, bare in pairs]
