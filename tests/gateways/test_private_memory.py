"""Children cannot read our environment, and we still find theirs."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="prctl and /proc are Linux's")

WITHOUT_RIGHTS = """
import ctypes, os, sys
PR_CAPBSET_DROP, CAP_SYS_PTRACE, CAP_SYS_ADMIN, CAP_PERFMON = 24, 19, 21, 38
for capability in (CAP_SYS_PTRACE, CAP_SYS_ADMIN, CAP_PERFMON):
    ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)  # else root may read everything
os.execv(sys.executable, [sys.executable, "-c", sys.argv[1], *sys.argv[2:]])
"""
READ_PARENT = """
import subprocess, sys
from ml_intern.gateways.private_memory import keep_memory_private
if sys.argv[1] == "private":
    assert keep_memory_private()
print(subprocess.run("cat /proc/$PPID/environ", shell=True, capture_output=True).stdout)
"""
END_A_CHILD = """
import os, subprocess, sys
from pathlib import Path
from ml_intern.gateways.private_memory import keep_memory_private
from ml_intern.threads.leftovers import MARKER, end_leftovers, marker
assert keep_memory_private()
home = Path(sys.argv[1])
child = subprocess.Popen(
    ["sh", "-c", "echo; exec sleep 600"], env={**os.environ, MARKER: marker(home, "t", "c")},
    stdout=subprocess.PIPE, start_new_session=True,
)
child.stdout.readline()
ended = end_leftovers(home, "t", ["c"])
if not ended:
    child.kill()
print(ended, child.wait())
"""


def ran(code: str, *arguments: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_RIGHTS, code, *arguments],
        env={"PATH": "/usr/bin:/bin", "SOME_KEY": "s3cret", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout


def test_a_command_cannot_read_the_environment_of_what_started_it() -> None:
    assert "s3cret" in ran(READ_PARENT, "open"), "without the call it can, so this test can fail"
    assert ran(READ_PARENT, "private").strip() == "b''"


def test_leftover_children_are_still_found_and_ended(tmp_path: Path) -> None:
    assert ran(END_A_CHILD, str(tmp_path)).split() == ["1", "-9"]
