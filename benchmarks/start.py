"""From the start of the process to the first model request, and from the last word to its end."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .bench import interleave
from .child import environment, python, run
from .commands import thread_id
from .figure import Figure, figure

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ..tests.bench.process import ModelServerProcess
    from .bench import Bench
    from .child import Run

ANSWERS = {"steps": ["Hello."], "after_end": "last"}
REDIRECTED = ("HF_ENDPOINT", "GITHUB_API_URL", "SLACK_API_URL", "HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")
"""Where the outside world is replaced by a black hole; the proxies stand for every host that is not named."""


def first_request(bench: Bench) -> Iterator[Figure]:
    """Start to first request beside importing litellm; and how long the process stays after its answer."""
    home = bench.new_folder("home")
    with bench.serve(ANSWERS) as server:
        env = bench.model_environment(home, server.base_url)
        floor_env = environment(home, LITELLM_LOCAL_MODEL_COST_MAP="True")
        pairs = interleave(
            bench.times(9, 3) + 1,
            lambda: _start(bench, server, env),
            lambda: run(python("import litellm"), floor_env, home).wall_s,
        )[1:]
    starts = [start for (_, start), _ in pairs]
    yield figure("start to first request", "s", starts, [floor for _, floor in pairs], times=1.15)
    yield figure("last output to process gone", "s", [done.leaving_s for (done, _), _ in pairs], plus=0.2)


def black_hole(bench: Bench) -> Iterator[Figure]:
    """The same while every host but the model's accepts and never answers."""
    home = bench.new_folder("home")
    with bench.serve(ANSWERS) as server, silent_host() as hole:
        quick = {"HF_ENDPOINT": server.root_url, "HF_TOKEN": "hf_benchmark"}
        silent = {"HF_TOKEN": "hf_benchmark", "NO_PROXY": "127.0.0.1,localhost"}
        silent |= dict.fromkeys(REDIRECTED, hole)
        near = bench.model_environment(home, server.base_url, **quick)
        far = bench.model_environment(home, server.base_url, **silent)
        pairs = interleave(
            bench.times(5, 2) + 1,
            lambda: _start(bench, server, far)[1],
            lambda: _start(bench, server, near)[1],
        )[1:]
    ours, floor = [a for a, _ in pairs], [b for _, b in pairs]
    yield figure("start to first request, hosts silent", "s", ours, floor, times=1.0, plus=0.3)


def opening(bench: Bench) -> Iterator[Figure]:
    """A thread of 600 entries beside a new one."""
    ours, _ = bench.long_runs[0]
    long_thread = thread_id(ours.run.stdout)
    with bench.serve(ANSWERS) as server:
        env = bench.model_environment(ours.home, server.base_url)
        pairs = interleave(
            bench.times(9, 3) + 1,
            lambda: _start(bench, server, env, "-t", long_thread)[1],
            lambda: _start(bench, server, env)[1],
        )[1:]
    name = "first request in a thread of 600 entries"
    yield figure(name, "s", [a for a, _ in pairs], [b for _, b in pairs], times=1.0, plus=0.1)


def _start(
    bench: Bench, server: ModelServerProcess, env: Mapping[str, str], *options: str
) -> tuple[Run, float]:
    """A headless run, and the seconds from its start to its first request."""
    before = len(server.journal())
    done = bench.headless("hi", env, *options)
    return done, server.journal()[before]["arrived_at"] - done.started_at


@contextmanager
def silent_host() -> Iterator[str]:
    """URL of a host that accepts every connection and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        held: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    held.append(listener.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            # Closing alone does not wake a thread that waits in accept.
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)
            for connection in held:
                connection.close()
