"""One process at a time has a thread, and looking at a lock never takes a thread from anybody."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from ml_intern.errors import ThreadHeld
from ml_intern.threads import lease

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOLD = """
import sys
from pathlib import Path
from ml_intern.threads import lease
held = lease.take(Path(sys.argv[1]), "t")
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has thread `t`."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_process_is_told_who_has_the_thread(tmp_path: Path, other: subprocess.Popen[str]) -> None:
    assert str(other.pid) in (lease.holder(tmp_path, "t") or "")
    with pytest.raises(ThreadHeld, match=f"process {other.pid} on "):
        lease.take(tmp_path, "t")
    lease.take(tmp_path, "another").release()


def test_a_killed_process_leaves_the_thread_to_others(tmp_path: Path, other: subprocess.Popen[str]) -> None:
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert lease.holder(tmp_path, "t") is None
    held = lease.take(tmp_path, "t")
    assert str(os.getpid()) in (lease.holder(tmp_path, "t") or "")
    held.release()
    assert lease.holder(tmp_path, "t") is None


def test_looking_at_a_lock_keeps_nobody_from_taking_it(tmp_path: Path) -> None:
    lease.take(tmp_path, "t").release()
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            lease.holder(tmp_path, "t")

    lookers = [threading.Thread(target=look) for _ in range(1)]
    for looker in lookers:
        looker.start()
    try:
        for _ in range(300):
            lease.take(tmp_path, "t").release()
    finally:
        done.set()
        for looker in lookers:
            looker.join()


def test_a_child_process_does_not_keep_the_thread(tmp_path: Path) -> None:
    held = lease.take(tmp_path, "t")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        held.release()
        lease.take(tmp_path, "t").release()
        assert child.stdin is not None
        child.stdin.write(b"\n")


def test_lock_files_are_private(tmp_path: Path) -> None:
    held = lease.take(tmp_path, "t")
    (path,) = (tmp_path / "locks").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    held.release()
