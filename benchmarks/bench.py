"""The place where measurements are made: homes, model servers, interleaved repetitions."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..tests.bench.process import ModelServerProcess
from .child import PROGRAM, Run, RunFailed, environment, run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Json = dict[str, Any]
A = TypeVar("A")
B = TypeVar("B")

NEVER_COMPACT = 10_000_000
"""Tokens: a shortened history would make late iterations look quick."""


@dataclass(slots=True, frozen=True)
class Long:
    """A headless run of many iterations, and what the model server saw of it."""

    run: Run
    journal: list[Json]
    home: Path

    @property
    def gaps(self) -> list[float]:
        """Seconds from the end of each answer to the next request; gaps[0] follows the first answer."""
        pairs = zip(self.journal, self.journal[1:], strict=False)
        return [after["arrived_at"] - before["answered_at"] for before, after in pairs]


@dataclass
class Bench:
    """Where to work, with which model id, how often."""

    folder: Path
    model: str
    quick: bool = False
    program: Path = PROGRAM
    _made: int = field(default=0)

    def times(self, full: int, quick: int) -> int:
        """How often to repeat."""
        return quick if self.quick else full

    def new_folder(self, name: str) -> Path:
        """An empty directory."""
        self._made += 1
        folder = self.folder / f"{self._made:03d}-{name}"
        folder.mkdir(parents=True)
        return folder

    def serve(self, script: Json) -> ModelServerProcess:
        """A model server, to be entered; what it saw is in its journal, without the bodies."""
        return ModelServerProcess({"keep_bodies": False, **script}, self.new_folder("server"))

    def model_environment(self, home: Path, base_url: str, **more: str) -> dict[str, str]:
        """The environment of a run that finds its model at `base_url`."""
        config = home / "config.json"
        settings = {"compact_at_tokens": NEVER_COMPACT, "context_windows": {self.model: NEVER_COMPACT}}
        config.write_text(json.dumps(settings), encoding="utf-8")
        return environment(
            home,
            OPENAI_API_KEY="sk-benchmark",
            OPENAI_BASE_URL=base_url,
            VLLM_BASE_URL=base_url,
            ML_INTERN_CLI_CONFIG=str(config),
            **more,
        )

    def headless(self, prompt: str, env: Mapping[str, str], *options: str) -> Run:
        """One headless run in an empty working directory.

        Raises:
            RunFailed: It did not end with 0.
        """
        command = [str(self.program), "-m", self.model, prompt, "-o", "json", *options]
        return run(command, env, self.new_folder("work"))

    def ours_long(self, steps: list[Json]) -> Long:
        """The product through a whole script.

        Raises:
            RunFailed: It did not end with 0.
        """
        home = self.new_folder("home")
        with self.serve({"steps": steps}) as server:
            done = self.headless("go", self.model_environment(home, server.base_url))
            return _whole(Long(done, server.journal(), home), steps)

    def bare_long(self, steps: list[Json]) -> Long:
        """The bare litellm loop through the same script."""
        home = self.new_folder("home")
        with self.serve({"steps": steps}) as server:
            env = environment(home, LITELLM_LOCAL_MODEL_COST_MAP="True", OPENAI_API_KEY="sk-benchmark")
            command = [*floor("bare_loop.py"), server.base_url]
            return _whole(Long(run(command, env, home), server.journal(), home), steps)

    @cached_property
    def long_runs(self) -> list[tuple[Long, Long]]:
        """Pairs of ours and bare through 300 model calls with results of 2 KB."""
        steps = [tool_step(f"printf '%02000d' {n}") for n in range(1, 300)] + [{"text": "done"}]
        return interleave(self.times(3, 1), lambda: self.ours_long(steps), lambda: self.bare_long(steps))

    @cached_property
    def short_runs(self) -> list[tuple[Long, Long]]:
        """Pairs of ours and bare through 60 model calls that each run `true`."""
        steps = [tool_step(f"true {n}") for n in range(1, 60)] + [{"text": "done"}]
        return interleave(self.times(5, 1), lambda: self.ours_long(steps), lambda: self.bare_long(steps))


def _whole(long: Long, steps: list[Json]) -> Long:
    if len(long.journal) != len(steps):
        raise RunFailed(f"{len(long.journal)} model calls for a script of {len(steps)} steps")
    return long


def floor(name: str) -> list[str]:
    """The command that runs a script of floors/."""
    return [sys.executable, str(Path(__file__).parent / "floors" / name)]


def tool_step(command: str) -> Json:
    """A step that asks for one shell command."""
    return {"tool_calls": [{"name": "bash", "arguments": {"command": command}}]}


def interleave(count: int, ours: Callable[[], A], floor: Callable[[], B]) -> list[tuple[A, B]]:
    """Both measurements, alternating, so that a busy moment of the machine hits both."""
    return [(ours(), floor()) for _ in range(count)]
