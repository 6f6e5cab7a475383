"""One process per thread: a lock the kernel frees with its holder, and a number that outlives both."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from typing import TYPE_CHECKING

from ..configs.home import open_private
from ..errors import ThreadHeld
from ..events import now

if TYPE_CHECKING:
    from pathlib import Path
    from typing import IO


LOOK_S = 0.2
"""How long a lock that another process has may belong to one that only looks."""


class Lease:
    """The right to run one thread, held until `release` or the end of the process."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def release(self) -> None:
        """Let others have the thread."""
        self._file.truncate(0)
        self._file.close()


def take(home: Path, thread_id: str) -> Lease:
    """Take the thread for this process.

    Raises:
        ThreadHeld: Another process has it; the text names its pid, host and start time.
    """
    path = _path(home, thread_id)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    file = open_private(path, "a+")
    if not _locked(file):
        file.seek(0)
        text = file.read()
        file.close()
        raise ThreadHeld(f"Thread {thread_id} is open in {_named(text)}; end that one first.")
    file.seek(0)
    file.truncate(0)
    json.dump({"pid": os.getpid(), "host": socket.gethostname(), "started_at": now()}, file)
    file.flush()
    return Lease(file)


def holder(home: Path, thread_id: str) -> str | None:
    """Who has the thread open right now, in words; None when nobody has."""
    path = _path(home, thread_id)
    if not path.exists():
        return None
    with path.open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _named(file.read())
    return None


def _locked(file: IO[str]) -> bool:
    """Take the lock; whoever only looks at it, as `holder` does, has it for an instant."""
    until = time.monotonic() + LOOK_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                return False
            time.sleep(0.01)
        else:
            return True


def _path(home: Path, thread_id: str) -> Path:
    return home / "locks" / f"{thread_id}.lock"


def _named(text: str) -> str:
    try:
        held = json.loads(text)
        return f"process {held['pid']} on {held['host']} since {held['started_at']}"
    except (ValueError, KeyError):
        return "another process"
