"""Start the command line as a process, watch its event stream, end it at any instant."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol, Self

from .fuse import VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

CONSOLE_SCRIPT = Path(sys.executable).parent / "ml-intern"
PATIENCE_S = 120.0
"""Longest wait for anything; only a defect waits so long."""
LOOK_S = 0.002


class Stuck(AssertionError):
    """A run did not get where it should."""


class Run:
    """One run of the command line."""

    def __init__(self, pid: int, stdout: int, stderr: IO[bytes], wait: Callable[[], int]) -> None:
        self.pid = pid
        self.events: list[dict[str, Any]] = []
        """Every whole line of `-o stream-json` so far."""
        self.text = ""
        self.exit_code: int | None = None
        self._stderr = stderr
        self._errors = ""
        self._wait = wait
        self._reader = threading.Thread(target=self._read, args=(stdout,), daemon=True)
        self._reaper = threading.Thread(target=self._reap, daemon=True)
        self._reader.start()
        self._reaper.start()

    @property
    def errors(self) -> str:
        """What it wrote to standard error."""
        return self._errors if self.ended else self._read_errors()

    @property
    def ended(self) -> bool:
        """Whether the process is gone."""
        return self.exit_code is not None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal unless the process is gone."""
        if not self.ended:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        self.signal(signal.SIGKILL)
        self.wait()

    def wait(self) -> int:
        """The exit code; negative for the signal that ended it."""
        self._reaper.join(PATIENCE_S)
        if self.exit_code is None:
            raise Stuck(f"process {self.pid} still runs after {PATIENCE_S:g} s: {self.errors[-2000:]}")
        self._reader.join(PATIENCE_S)
        return self.exit_code

    def until(self, reached: Callable[[], bool]) -> bool:
        """Wait for something to come true; False when the process ended first."""
        deadline = time.monotonic() + PATIENCE_S
        while not reached():
            if self.ended:
                self._reader.join(PATIENCE_S)
                return reached()
            if time.monotonic() > deadline:
                self.kill()
                raise Stuck(f"never reached; events: {[event['event'] for event in self.events]}")
            time.sleep(LOOK_S)
        return True

    def count(self, name: str) -> int:
        """How many events of this name it has shown."""
        return sum(event["event"] == name for event in list(self.events))

    def _read(self, stdout: int) -> None:
        with os.fdopen(stdout, encoding="utf-8") as lines:
            for line in lines:
                self.text += line
                if line.endswith("\n") and line.startswith('{"seq"'):
                    self.events.append(json.loads(line))

    def _reap(self) -> None:
        code = self._wait()
        self._errors = self._read_errors()
        self._stderr.close()
        self.exit_code = code

    def _read_errors(self) -> str:
        # The process shares our file position, which must not move.
        return os.pread(self._stderr.fileno(), 1 << 20, 0).decode("utf-8", "replace")


class Launcher(Protocol):
    """A way to start the command line."""

    def start(
        self, arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str], limits: Mapping[str, int] = ...
    ) -> Run:
        """Start one run; `limits` are resource limits by name, e.g. FSIZE."""


class Cold:
    """Starts the console script, as a person does."""

    def start(
        self,
        arguments: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        limits: Mapping[str, int] | None = None,
    ) -> Run:
        """Start one run."""
        ulimits = "".join(f"ulimit -f {value // 1024}; " for value in (limits or {}).values())
        shell = ["/bin/bash", "-c", f'{ulimits}exec "$@"', "bash"] if ulimits else []
        stderr = tempfile.TemporaryFile()  # noqa: SIM115 - read until the run is forgotten
        fused = {"PYTHONPATH": str(Path(__file__).parent / "cold")} if VARIABLE in env else {}
        process = subprocess.Popen(
            [*shell, str(CONSOLE_SCRIPT), *arguments],
            cwd=cwd, env={**env, **fused}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr,
            start_new_session=True,
        )  # fmt: skip
        assert process.stdout is not None
        return Run(process.pid, os.dup(process.stdout.fileno()), stderr, lambda: _reaped(process))


class Warm:
    """Forks runs from a process that has everything imported; see `zygote`."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._path = ""

    def __enter__(self) -> Self:
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="zygote-"))
        self._path = f"{folder}/socket"
        env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        process = subprocess.Popen(
            [sys.executable, "-m", "ml_intern.tests.crash.zygote", self._path],
            env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._stack.callback(_end, process)
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise RuntimeError("the zygote did not start; its error is above")
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start(
        self,
        arguments: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        limits: Mapping[str, int] | None = None,
    ) -> Run:
        """Start one run."""
        request = {"arguments": list(arguments), "cwd": str(cwd), "env": dict(env), "limits": limits or {}}
        read, write = os.pipe()
        stderr = tempfile.TemporaryFile()  # noqa: SIM115 - read until the run is forgotten
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.connect(self._path)
        socket.send_fds(connection, [json.dumps(request).encode()], [write, stderr.fileno()])
        os.close(write)
        pid = int(connection.recv(32))

        def wait() -> int:
            with connection:
                return int(connection.recv(32))

        return Run(pid, read, stderr, wait)


def _reaped(process: subprocess.Popen[bytes]) -> int:
    code = process.wait()
    if process.stdout is not None:
        process.stdout.close()
    return code


def _end(process: subprocess.Popen[str]) -> None:
    process.communicate(timeout=30)


def marked_processes(mark: str) -> list[int]:
    """Pids of living processes whose environment holds the text."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            if mark.encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue  # gone, or another user's
    return found
