"""A fuse in a process under test: SIGKILL at the Nth moment at which the world outside may change.

Such a moment is a commit of the database (just before it), the start of a child process, a file opened
for writing, a rename, a connection. `CRASH_FUSE=N:FILE` counts them, notes each in FILE, and burns at N
(0: never). Killing at each N in turn visits every state that the disk can be left in.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

VARIABLE = "CRASH_FUSE"

_WATCHED = {"subprocess.Popen": "spawn", "os.rename": "rename", "socket.connect": "connect"}


class Fuse:
    """Counts moments; ends the process at the chosen one."""

    def __init__(self, burn_at: int, log: str) -> None:
        self._burn_at = burn_at
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._count = 0
        self._lock = threading.Lock()

    def tick(self, what: str) -> None:
        """One moment."""
        with self._lock:
            self._count += 1
            os.write(self._log, f"{what}\n".encode())
            if self._count == self._burn_at:
                os.kill(os.getpid(), signal.SIGKILL)
                signal.pause()

    def statement(self, text: str) -> None:
        """One SQL statement that is about to run."""
        if text.startswith("COMMIT"):
            self.tick("commit")

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        """One event of the interpreter's audit hook."""
        if event in _WATCHED:
            self.tick(_WATCHED[event])
        elif event == "open" and _writes(arguments):
            self.tick(f"open {os.path.basename(str(arguments[0]))}")  # noqa: PTH119 - runs in an audit hook


def _writes(arguments: tuple[Any, ...]) -> bool:
    path, _, flags = arguments
    if not isinstance(path, str) or path.startswith(("/dev/", "/proc/")) or path.endswith(".pyc"):
        return False
    return bool(flags & (os.O_WRONLY | os.O_RDWR))


def install() -> None:
    """Arm the fuse that the environment asks for; children of this process get none."""
    setting = os.environ.pop(VARIABLE, "")
    if not setting:
        return
    number, _, log = setting.partition(":")
    fuse = Fuse(int(number), log)

    def watched(connect: Callable[..., sqlite3.Connection]) -> Callable[..., sqlite3.Connection]:
        def connect_and_watch(*args: Any, **kwargs: Any) -> sqlite3.Connection:
            connection = connect(*args, **kwargs)
            connection.set_trace_callback(fuse.statement)
            return connection

        return connect_and_watch

    sqlite3.connect = sqlite3.dbapi2.connect = watched(sqlite3.connect)  # type: ignore[assignment]
    sys.addaudithook(fuse.audit)
