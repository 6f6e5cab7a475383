"""The real command line as a process of its own, in the environment of the test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ENTRY = [sys.executable, "-c", "from ml_intern.cli import main; main()"]
LONGEST_S = 120.0


class Done(NamedTuple):
    """How it ended and what it said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as one JSON value."""
        return json.loads(self.out)

    @property
    def events(self) -> list[dict[str, Any]]:
        """Standard output as `--output stream-json` writes it."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def names(self) -> list[str]:
        """Names of those events."""
        return [event["event"] for event in self.events]


@dataclass
class CommandLine:
    """`ml-intern` in one directory, with variables of one's own."""

    cwd: Path
    env: dict[str, str] = field(default_factory=dict)

    def __call__(self, *arguments: str, stdin: str = "", **env: str) -> Done:
        """Run it to its end."""
        done = subprocess.run(
            [*ENTRY, *arguments],
            input=stdin.encode(),
            capture_output=True,
            cwd=self.cwd,
            env={**os.environ, **self.env, **env},
            timeout=LONGEST_S,
            check=False,
        )
        return Done(done.returncode, done.stdout.decode(), done.stderr.decode())

    def each(self, lines: Sequence[Sequence[str]]) -> list[Done]:
        """Run several that do not know of each other, two at a time."""
        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(lambda line: self(*line), lines))

    def start(self, *arguments: str, **env: str) -> subprocess.Popen[str]:
        """Start it, with pipes for all three streams; use it in a `with`."""
        return subprocess.Popen(
            [*ENTRY, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.cwd,
            env={**os.environ, **self.env, **env},
        )
