from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ml_intern.tests.bench.script import Step, ToolCall

if TYPE_CHECKING:
    from ml_intern.tests.conftest import ServerFactory

PROGRAM = Path(__file__).parents[2] / "examples" / "tally.py"


def test_the_tally_counts_calls_and_cost_and_passes_the_exit_code_on(
    start_model_server: ServerFactory, tmp_path: Path
) -> None:
    calls = [ToolCall("bash", {"command": "echo one"}), ToolCall("glob", {"pattern": "*"})]
    server = start_model_server([Step(tool_calls=calls), "Counted."])
    done = subprocess.run(
        [sys.executable, str(PROGRAM), "count", "-m", "vllm/scripted"],
        cwd=tmp_path,
        env={**os.environ, "VLLM_BASE_URL": server.base_url},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "Counted.\n"), done.stderr
    assert done.stderr.splitlines()[-1] == "1 x bash, 1 x glob; $0.0000"


def test_the_tally_ends_as_the_run_does(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(PROGRAM), "-t", "/no/id", "hello"],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 2
