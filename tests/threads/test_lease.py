from __future__ import annotations

import os
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from ml_intern.errors import ThreadHeld
from ml_intern.threads.lease import holder, take

if TYPE_CHECKING:
    from pathlib import Path

HOLD = """
import pathlib, sys
from ml_intern.threads.lease import take
lease = take(pathlib.Path(sys.argv[1]), "t")
print("held", flush=True)
sys.stdin.read()
"""


def test_a_thread_is_held_until_it_is_let_go(tmp_path: Path) -> None:
    lease = take(tmp_path, "t")
    assert f"process {os.getpid()} on " in str(holder(tmp_path, "t"))
    with pytest.raises(ThreadHeld, match=f"Thread t is open in process {os.getpid()} on .* since 20"):
        take(tmp_path, "t")
    take(tmp_path, "other").release()
    lease.release()
    assert holder(tmp_path, "t") is None
    take(tmp_path, "t").release()


def test_nobody_holds_a_thread_that_was_never_open(tmp_path: Path) -> None:
    assert holder(tmp_path, "t") is None


@pytest.mark.parametrize("how", ["ends", "is killed"])
def test_the_kernel_frees_a_thread_whose_process(tmp_path: Path, how: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        assert f"process {process.pid} on" in str(holder(tmp_path, "t"))
        with pytest.raises(ThreadHeld, match=f"process {process.pid}"):
            take(tmp_path, "t")
        if how == "ends":
            process.stdin.close()
        else:
            process.kill()
        process.wait(30)
    assert holder(tmp_path, "t") is None
    take(tmp_path, "t").release()


def test_a_child_process_does_not_keep_the_thread(tmp_path: Path) -> None:
    lease = take(tmp_path, "t")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        lease.release()
        take(tmp_path, "t").release()
        assert child.stdin is not None
        child.stdin.write(b"\n")


def test_lock_files_are_private(tmp_path: Path) -> None:
    lease = take(tmp_path, "t")
    (path,) = (tmp_path / "locks").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    lease.release()
