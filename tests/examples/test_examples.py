"""The examples run as they stand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ml_intern.configs.settings import load_settings
from ml_intern.tests.bench.script import Step, ToolCall

if TYPE_CHECKING:
    import pytest

    from ml_intern.tests.conftest import ServerFactory

EXAMPLES = Path(__file__).parents[2] / "examples"


def remove(path: str) -> Step:
    return Step(tool_calls=[ToolCall("bash", {"command": f"rm -r {path}"})])


def test_a_program_answers_approvals_by_its_own_rule(
    tmp_path: Path, start_model_server: ServerFactory
) -> None:
    for name in ("runs/old", "data"):
        (tmp_path / name).mkdir(parents=True)
    server = start_model_server([remove("runs/old"), remove("data"), "Tidied."])
    done = subprocess.run(
        [sys.executable, EXAMPLES / "operations.py", "tidy", "vllm/x"],
        cwd=tmp_path,
        env={**os.environ, "VLLM_BASE_URL": server.base_url},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "Tidied."), done.stderr
    assert not (tmp_path / "runs" / "old").exists()
    assert (tmp_path / "data").is_dir()
    assert "Delete only below runs/." in str(server.requests[-1].body)


def test_a_nightly_job_goes_on_once_after_a_limit_and_names_the_way_on(
    tmp_path: Path, start_model_server: ServerFactory
) -> None:
    looking = Step(tool_calls=[ToolCall("bash", {"command": "date +%N"})])
    server = start_model_server([*[looking] * 41, "Trained."])
    done = subprocess.run(
        [EXAMPLES / "nightly.sh", "retrain"],
        cwd=tmp_path,
        env={**os.environ, "MODEL": "vllm/x", "VLLM_BASE_URL": server.base_url},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "Trained.\n"), done.stderr
    assert "ml-intern history nightly-" in done.stderr


def test_the_projects_settings_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    project = tmp_path / ".ml-intern" / "config.json"
    project.parent.mkdir()
    project.write_bytes((EXAMPLES / "project_config.json").read_bytes())
    loaded = load_settings(environ=os.environ, cwd=tmp_path)
    assert not loaded.warnings
    assert loaded.settings.max_cost == 10
    assert [rule.reason for rule in loaded.settings.policy.deny] == ["releases are made by CI"]
