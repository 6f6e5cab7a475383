"""Run a program that answers one question, in a process of its own.

For work in C that holds the interpreter's lock (parsing megabytes of JSON or Python, matching regular
expressions): in a thread it would stop the event loop, and nothing could end it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

LINE_BYTES = 1 << 16
ERROR_BYTES = 10_000


@dataclass(slots=True)
class Answer:
    """What a program said."""

    output: bytes = b""
    """All it printed, unless it was taken line by line."""
    errors: str = ""
    exit_code: int = 0
    timed_out: bool = False


def own_script(script: Path) -> list[str]:
    """Command line for a script of ours, which sees the standard library only."""
    return [sys.executable, "-I", "-S", "-W", "ignore", str(script)]


async def ask(
    argv: Sequence[str],
    question: bytes,
    *,
    timeout_s: float,
    cwd: Path | None = None,
    take: Callable[[bytes], bool] | None = None,
) -> Answer:
    """Give a program a question on stdin and collect its answer; it is dead afterwards, however this ends.

    Args:
        argv: the command line.
        question: its whole input, which it must read before it prints much.
        timeout_s: seconds until it is killed.
        cwd: its directory.
        take: gets each line (in a thread); returning False is enough, the program is killed then.

    Raises:
        OSError: it could not be started.
    """
    program = _Program(argv, question, cwd, take)
    body = asyncio.ensure_future(asyncio.to_thread(program.run))
    try:
        done, _ = await asyncio.wait({body}, timeout=timeout_s)
    except asyncio.CancelledError:
        program.kill()
        body.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        raise
    if not done:
        program.kill()
    answer = await body
    answer.timed_out = not done
    return answer


class _Program:
    def __init__(
        self, argv: Sequence[str], question: bytes, cwd: Path | None, take: Callable[[bytes], bool] | None
    ) -> None:
        self._argv, self._question, self._cwd, self._take = argv, question, cwd, take
        self._process: subprocess.Popen[bytes] | None = None
        self._killed = False
        self._lock = threading.Lock()

    def kill(self) -> None:
        """End the program and what it started, also when it has not been started yet."""
        with self._lock:
            self._killed = True
            if self._process is not None and self._process.returncode is None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self._process.pid, signal.SIGKILL)

    def run(self) -> Answer:
        with tempfile.TemporaryFile() as errors:
            with self._lock:
                if self._killed:
                    return Answer(exit_code=-signal.SIGKILL)
                self._process = process = subprocess.Popen(
                    self._argv,
                    cwd=self._cwd,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    start_new_session=True,
                )
            try:
                output = self._talk(process)
            finally:
                self.kill()
                with self._lock:
                    exit_code = process.wait()
                for pipe in (process.stdin, process.stdout):
                    if pipe is not None:
                        with contextlib.suppress(BrokenPipeError):
                            pipe.close()
            return Answer(output, _start_of(errors), exit_code)

    def _talk(self, process: subprocess.Popen[bytes]) -> bytes:
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(self._question)
            process.stdin.close()
        if self._take is None:
            output = process.stdout.read()
            process.wait()
            return output
        while line := process.stdout.readline(LINE_BYTES):
            if not self._take(line):
                return b""
        process.wait()
        return b""


def _start_of(errors: IO[bytes]) -> str:
    errors.seek(0)
    return errors.read(ERROR_BYTES).decode("utf-8", "replace")
