"""Run one command in a thread of its own: output streamed, bounded, and the whole process group ended.

A thread, not the event loop, spawns the process and reads its pipe: a flood of output costs the loop
nothing but the few pieces of live output it shows. (Spawning takes `vfork` and the shell's own start,
about 1.5 ms together, whatever the size of this process.)
"""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import os
import re
import select
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from .output import Capture, Captured

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

TIMEOUT_GRACE_S = 2.0
"""Between SIGTERM and SIGKILL when the time is up."""
STOP_GRACE_S = 0.5
"""The same when a person cancels, who is waiting."""
REAP_S = 5.0
"""Longest wait for the kernel to end a killed process (it may be stuck in a dead network file system)."""
DRAIN_QUIET_S = 0.05
DRAIN_LIMIT_S = 0.3
"""After the shell's end: leave when background children were silent this long, or after this long at all."""
READ_BYTES = 1 << 16

_ESCAPE = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)"  # OSC and other strings: titles, links
    r"|[ -/]+[0-~]"  # character sets
    r"|[0-Z\\^-~])"  # two-byte sequences
)
_UNFINISHED = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x1b]*\x1b?|[ -/]*)\Z")
_HELD_CHARS = 512
"""An escape sequence longer than this is taken for text."""


class TerminalText:
    """Decodes a byte stream into text without terminal control sequences, also when pieces cut them."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""

    def feed(self, data: bytes, final: bool = False) -> str:
        """Text of the next piece; the start of an unfinished sequence waits for the next one."""
        text = self._held + self._decoder.decode(data, final)
        self._held = ""
        if "\x1b" not in text:
            return text
        cut = None if final else _UNFINISHED.search(text, max(0, len(text) - _HELD_CHARS))
        if cut:
            text, self._held = text[: cut.start()], text[cut.start() :]
        return _ESCAPE.sub("", text).replace("\x1b", "")


class LiveOutput:
    """Passes output on in batches of whole lines: at most ten a second, and ever fewer in a long run.

    A command that is over at once shows nothing live: its result says it all a moment later.
    """

    _QUIET_S = 0.2
    _PACE = ((50, 0.1), (500, 1.0))
    _SLOW_S = 10.0
    _BATCH_CHARS = 2_000

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show
        self._pending = ""
        self._skipped_chars = 0
        self._batch_count = 0
        self._next_at = time.monotonic() + self._QUIET_S

    def feed(self, text: str) -> None:
        """Take output; only its end is kept when it comes faster than it is shown."""
        self._pending += text
        excess = len(self._pending) - self._BATCH_CHARS
        if excess > 0:
            self._skipped_chars += excess
            self._pending = self._pending[excess:]

    def wait_s(self, now: float) -> float | None:
        """Seconds until a batch may be shown; None when nothing waits."""
        return max(0.0, self._next_at - now) if self._pending else None

    def flush(self, now: float, final: bool = False) -> None:
        """Show what may be shown by now."""
        early = now < self._next_at and not (final and self._batch_count)
        if not self._pending or early:
            return
        end = len(self._pending) if final else self._pending.rfind("\n") + 1
        batch, self._pending = (
            self._pending[: end or len(self._pending)],
            self._pending[end or len(self._pending) :],
        )
        if self._skipped_chars:
            batch = f"[... {self._skipped_chars:,} characters not shown ...]\n{batch}"
            self._skipped_chars = 0
        self._batch_count += 1
        self._next_at = now + next(
            (gap for count, gap in self._PACE if self._batch_count < count), self._SLOW_S
        )
        self._show(batch.rstrip("\n"))


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    exit_code: int | None
    """Negative: the signal that ended it. None: it could not be ended at all."""
    ended_by: Literal["itself", "timeout", "stop"]
    duration_s: float
    output: Captured
    pipe_held: bool
    """Background children still hold the output pipe."""


async def run_command(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    timeout_s: float,
    spill: Path,
    log: Callable[[str], None],
) -> Ended:
    """Run a command with stdin closed and stderr in stdout, in a session of its own.

    The call ends when the command itself has: background children may live on, and what they print
    later is read and dropped, so that a full or closed pipe does not end them. When the time is up or the
    caller is cancelled the whole process group is ended, background children too.

    Raises:
        OSError: the command could not be started.
        asyncio.CancelledError: the caller was cancelled; the group is dead by then.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[Ended] = loop.create_future()

    def on_loop(call: Callable[..., object], *values: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens any more
            loop.call_soon_threadsafe(call, *values)

    def settle(result: Ended | None, error: BaseException | None) -> None:
        if ended.done():
            return
        if error is not None:
            ended.set_exception(error)
        elif result is not None:
            ended.set_result(result)

    child = _Child(argv, cwd, env, timeout_s, Capture(spill), LiveOutput(lambda text: on_loop(log, text)))
    body = threading.Thread(
        target=child.run, args=(lambda *outcome: on_loop(settle, *outcome),), name="command", daemon=True
    )
    body.start()
    try:
        return await asyncio.shield(ended)
    except asyncio.CancelledError:
        child.stop()
        while not ended.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({ended})
        ended.exception()
        raise


class _Child:
    """The process and the thread that looks after it."""

    def __init__(
        self,
        argv: Sequence[str],
        cwd: Path,
        env: Mapping[str, str],
        timeout_s: float,
        capture: Capture,
        live: LiveOutput,
    ) -> None:
        self._argv, self._cwd, self._env, self._timeout_s = argv, cwd, env, timeout_s
        self._capture, self._live = capture, live
        self._text = TerminalText()
        self._wake_read, self._wake_write = os.pipe()
        self._pid_fd: int | None = None
        self._pipe_open = True
        self._lock = threading.Lock()

    def stop(self) -> None:
        """Ask the thread to end the group; safe from any thread, at any time."""
        with self._lock:
            if self._wake_write >= 0:
                os.write(self._wake_write, b".")

    def run(self, settle: Callable[[Ended | None, BaseException | None], None]) -> None:
        """Body of the thread: spawn, look after, report, and stay while background children hold the pipe."""
        try:
            process = subprocess.Popen(
                self._argv,
                cwd=self._cwd,
                env=dict(self._env),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                bufsize=0,
            )
        except BaseException as error:  # noqa: BLE001 - handed to the coroutine that waits
            self._close_wake()
            settle(None, error)
            return
        try:
            result = self._look_after(process)
        except BaseException as error:  # noqa: BLE001 - as above; the group must not outlive a bug here
            self._signal(process, signal.SIGKILL)
            process.wait()
            self._capture.close()
            settle(None, error)
            return
        finally:
            self._close_wake()
        settle(result, None)
        self._linger(process)

    def _close_wake(self) -> None:
        with self._lock:
            os.close(self._wake_read)
            os.close(self._wake_write)
            self._wake_write = -1

    def _look_after(self, process: subprocess.Popen[bytes]) -> Ended:
        started = time.monotonic()
        pipe = _pipe_of(process)
        os.set_blocking(pipe, False)
        with contextlib.suppress(
            AttributeError, OSError
        ):  # not Linux, or a kernel that hides it: poll instead
            self._pid_fd = os.pidfd_open(process.pid)
        try:
            ended_by = self._until_exit(process, pipe, started + self._timeout_s)
            if ended_by != "itself":
                self._kill(process, pipe, TIMEOUT_GRACE_S if ended_by == "timeout" else STOP_GRACE_S)
            exit_code = self._reap(process)
            if ended_by == "itself":
                self._drain(pipe)
        finally:
            if self._pid_fd is not None:
                os.close(self._pid_fd)
        self._take(self._text.feed(b"", final=True))
        self._live.flush(time.monotonic(), final=True)
        return Ended(exit_code, ended_by, time.monotonic() - started, self._capture.finish(), self._pipe_open)

    def _until_exit(
        self, process: subprocess.Popen[bytes], pipe: int, deadline: float
    ) -> Literal["itself", "timeout", "stop"]:
        while True:
            now = time.monotonic()
            if now >= deadline:
                return "timeout"
            ready = self._poll(pipe, deadline - now)
            if self._wake_read in ready:
                return "stop"
            if pipe in ready:
                self._read(pipe)
            if self._exited(process, ready):
                return "itself"
            self._live.flush(time.monotonic())

    def _poll(self, pipe: int, timeout_s: float) -> set[int]:
        """Descriptors with news, after at most `timeout_s`, or earlier when live output is due."""
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        if self._pipe_open:
            poll.register(pipe, select.POLLIN)
        if self._pid_fd is not None:
            poll.register(self._pid_fd, select.POLLIN)
        else:
            timeout_s = min(timeout_s, 0.01)
        live_s = self._live.wait_s(time.monotonic())
        if live_s is not None:
            timeout_s = min(timeout_s, live_s)
        return {fd for fd, _ in poll.poll(int(timeout_s * 1000) + 1)}

    def _exited(self, process: subprocess.Popen[bytes], ready: set[int]) -> bool:
        if self._pid_fd is None:
            return process.poll() is not None
        return self._pid_fd in ready

    def _read(self, pipe: int) -> bool:
        """Take one piece of output; False when there is none at the moment."""
        try:
            data = os.read(pipe, READ_BYTES)
        except BlockingIOError:
            return False
        if not data:
            self._pipe_open = False
            return False
        self._take(self._text.feed(data))
        return True

    def _take(self, text: str) -> None:
        self._capture.feed(text)
        self._live.feed(text)

    def _signal(self, process: subprocess.Popen[bytes], number: signal.Signals) -> None:
        # The group is named by the leader, which is not reaped yet: the number cannot be anyone else's.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)

    def _kill(self, process: subprocess.Popen[bytes], pipe: int, grace_s: float) -> None:
        """SIGTERM, a while to obey, SIGKILL; what is printed meanwhile is kept."""
        self._signal(process, signal.SIGTERM)
        deadline = time.monotonic() + grace_s
        exited = False
        while (left_s := deadline - time.monotonic()) > 0 and not (exited and not self._pipe_open):
            poll = select.poll()
            if self._pipe_open:
                poll.register(pipe, select.POLLIN)
            if self._pid_fd is not None and not exited:
                poll.register(self._pid_fd, select.POLLIN)
            ready = {fd for fd, _ in poll.poll(int(min(left_s, 0.05) * 1000) + 1)}
            if pipe in ready:
                self._read(pipe)
            exited = exited or self._exited(process, ready)
        self._signal(process, signal.SIGKILL)
        self._drain(pipe)

    def _reap(self, process: subprocess.Popen[bytes]) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(REAP_S)
        return None

    def _drain(self, pipe: int) -> None:
        """Take what the pipe still holds; children in the background may keep it open for ever."""
        deadline = time.monotonic() + DRAIN_LIMIT_S
        while self._pipe_open and time.monotonic() < deadline:
            if self._read(pipe) or not self._pipe_open:
                continue
            poll = select.poll()
            poll.register(pipe, select.POLLIN)
            if not poll.poll(int(DRAIN_QUIET_S * 1000)):
                return

    def _linger(self, process: subprocess.Popen[bytes]) -> None:
        """Read and drop what background children print, until the last of them has closed the pipe."""
        with contextlib.closing(process.stdout) if process.stdout else contextlib.nullcontext():
            if self._pipe_open:
                pipe = _pipe_of(process)
                os.set_blocking(pipe, True)
                while os.read(pipe, READ_BYTES):
                    pass


def _pipe_of(process: subprocess.Popen[bytes]) -> int:
    assert process.stdout is not None
    return process.stdout.fileno()
