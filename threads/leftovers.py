"""End the processes that a killed run left behind."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

MARKER = "ML_INTERN_CALL"
"""Variable that every shell command carries: whose it is, `home/thread/call id`."""

_PROC = Path("/proc")


def marker(home: Path, thread_id: str, call_id: str) -> str:
    """Value of the marker for one call; another home may have a thread of that name."""
    return f"{home.resolve()}/{thread_id}/{call_id}"


def end_leftovers(home: Path, thread_id: str, call_ids: Collection[str]) -> int:
    """Kill what calls that never finished have started and is still alive; returns how many processes.

    A call that finished may have left a process running on purpose; those carry other markers and stay.
    Works where /proc shows environments (Linux); elsewhere nothing is found.
    """
    if not call_ids or not _PROC.is_dir():
        return 0
    wanted = {f"{MARKER}={marker(home, thread_id, call_id)}".encode() for call_id in call_ids}
    ended = 0
    for directory in _PROC.iterdir():
        if directory.name.isdigit() and int(directory.name) != os.getpid() and _carries(directory, wanted):
            try:
                os.kill(int(directory.name), signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue
            ended += 1
    return ended


def _carries(directory: Path, wanted: Collection[bytes]) -> bool:
    try:
        environment = (directory / "environ").read_bytes()
    except OSError:
        return False  # gone in the meantime, or another person's
    return any(entry in wanted for entry in environment.split(b"\0"))
