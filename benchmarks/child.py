"""Running one command and measuring it from outside: wall time, memory, the gap before it is gone."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PROGRAM = Path(sys.executable).parent / "ml-intern"


class RunFailed(Exception):
    """A measured command did not end as it should; the text is one line."""


@dataclass(frozen=True, slots=True)
class Run:
    """One finished command. Moments are `time.monotonic()`."""

    started_at: float
    last_output_at: float
    gone_at: float
    peak_bytes: int
    """The process's largest resident size."""
    stdout: bytes

    @property
    def wall_s(self) -> float:
        """From before the fork to after the exit."""
        return self.gone_at - self.started_at

    @property
    def leaving_s(self) -> float:
        """From the last output to the exit."""
        return self.gone_at - self.last_output_at


def python(code: str) -> list[str]:
    """The command that runs code in this very interpreter."""
    return [sys.executable, "-c", code]


def environment(home: Path, **more: str) -> dict[str, str]:
    """What a measured command sees: an empty home, compiled modules kept, nothing of the developer's."""
    return {
        "PATH": f"{PROGRAM.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "HOME": str(home),
        "ML_INTERN_HOME": str(home / "ml-intern"),
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        **more,
    }


def run(command: Sequence[str], env: Mapping[str, str], cwd: Path, timeout_s: float = 600.0) -> Run:
    """Run a command to its end.

    Raises:
        RunFailed: It cannot start, ends with another code than 0, or takes longer than `timeout_s` seconds.
    """
    with tempfile.TemporaryFile() as stderr:
        started_at = time.monotonic()
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=dict(env),
                cwd=cwd,
            )
        except OSError as error:
            raise RunFailed(f"{command[0]}: {error.strerror}") from error
        assert process.stdout is not None
        with process.stdout as pipe:
            stdout, last_output_at = _drain(process, pipe.fileno(), started_at, timeout_s)
        _, status, usage = os.wait4(process.pid, 0)
        gone_at = time.monotonic()
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            stderr.seek(0)
            said = stderr.read().decode(errors="replace").strip().splitlines() or ["(nothing on stderr)"]
            what = " ".join(command[:4])
            raise RunFailed(f"{what} ended with {process.returncode}: {said[-1][:160]}")
    return Run(started_at, last_output_at, gone_at, usage.ru_maxrss * 1024, stdout)


def _drain(
    process: subprocess.Popen[bytes], pipe: int, started_at: float, timeout_s: float
) -> tuple[bytes, float]:
    parts: list[bytes] = []
    last_output_at = started_at
    while True:
        left_s = max(0.0, started_at + timeout_s - time.monotonic())
        if not select.select([pipe], [], [], left_s)[0]:
            process.kill()
            process.wait()
            raise RunFailed(f"{process.args!r} ran longer than {timeout_s:g} s")
        part = os.read(pipe, 65_536)
        if not part:
            return b"".join(parts), last_output_at
        last_output_at = time.monotonic()
        parts.append(part)
