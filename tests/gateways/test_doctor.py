"""`ml-intern doctor` on homes that are whole and homes that are not; it changes none of them."""

from __future__ import annotations

import json
import os
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ml_intern.gateways.doctor import doctor
from ml_intern.threads import lease, listing
from ml_intern.threads.opening import open_store

if TYPE_CHECKING:
    from ml_intern.tests.conftest import ServerFactory


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An ML_INTERN_HOME with one thread; the directory is a clean one."""
    monkeypatch.chdir(tmp_path)
    path = Path(os.environ["ML_INTERN_HOME"])
    store = open_store(path)
    listing.create_thread(store, "t1", cwd=str(tmp_path), model="vllm/x", system_prompt="")
    store.close()
    return path


def examined(capsys: pytest.CaptureFixture[str], online: bool = False, **env: str) -> tuple[int, Any]:
    code = doctor({**os.environ, **env}, online=online, output="json")
    report = json.loads(capsys.readouterr().out)
    assert report["healthy"] == (code == 0)
    return code, report["findings"]


def states(findings: Any, name: str) -> list[str]:
    return [finding["state"] for finding in findings if finding["name"] == name]


def texts(findings: Any, name: str) -> str:
    return "\n".join(finding["text"] for finding in findings if finding["name"] == name)


def test_a_fresh_installation_is_healthy_and_stays_untouched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, findings = examined(capsys)
    assert code == 0
    assert "first run makes it" in texts(findings, "home")
    assert states(findings, "keys") == ["note"]
    assert "ANTHROPIC_API_KEY" in texts(findings, "model")
    assert not Path(os.environ["ML_INTERN_HOME"]).exists()


def test_keys_are_named_and_never_shown(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, findings = examined(capsys, ANTHROPIC_API_KEY="sk-ant-very-secret-1", GROQ_API_KEY="gsk-secret-2")
    assert code == 0
    assert texts(findings, "keys") == "ANTHROPIC_API_KEY, GROQ_API_KEY"
    assert texts(findings, "model").startswith("anthropic/")
    assert "secret" not in json.dumps(findings)
    assert texts(findings, "database").startswith("1 threads in ")


def test_a_model_without_its_key_is_wrong(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, findings = examined(capsys, ML_INTERN_MODEL_NAME="openai/x")
    assert code == 1
    assert "set OPENAI_API_KEY" in texts(findings, "model")


@pytest.mark.parametrize("name", [".", "ml-intern.db"])
def test_a_home_that_others_may_read_is_wrong(
    home: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / name).chmod(0o755)
    code, findings = examined(capsys)
    assert code == 1
    assert "chmod -R go=" in texts(findings, "home")


def test_a_damaged_database_is_wrong(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    database = home / "ml-intern.db"
    database.write_bytes(b"not a database at all" * 100)
    before = database.read_bytes()
    code, findings = examined(capsys)
    assert code == 1
    assert "not a database" in texts(findings, "database")
    assert database.read_bytes() == before


def test_a_database_of_a_newer_release_is_wrong(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    connection = sqlite3.connect(home / "ml-intern.db")
    connection.execute("PRAGMA user_version=99")
    connection.close()
    code, findings = examined(capsys)
    assert code == 1
    assert "schema 99" in texts(findings, "database")


def test_rows_without_a_thread_are_counted_by_table(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    connection = sqlite3.connect(home / "ml-intern.db")
    for seq in range(3):
        connection.execute("INSERT INTO events VALUES ('gone', ?, '', 'ready', '{}', 0)", (seq,))
    connection.commit()
    connection.close()
    code, findings = examined(capsys)
    assert code == 0
    assert "3 in events" in texts(findings, "orphans")


def test_an_open_thread_is_named_with_its_holder(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    held = lease.take(home, "t1")
    _, findings = examined(capsys)
    held.release()
    assert f"t1 is open in process {os.getpid()}" in texts(findings, "locks")
    _, findings = examined(capsys)
    assert texts(findings, "locks") == "no thread is open"


def test_broken_settings_are_wrong_and_ineffective_ones_a_note(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine.json"
    mine.write_text('{"auto_save_interval": 3}')
    code, findings = examined(capsys, ML_INTERN_CLI_CONFIG=str(mine))
    assert code == 0
    assert f"auto_save_interval (set by {mine}) has no effect" in texts(findings, "settings")

    mine.write_text('{"modle_name": "x"}')
    code, findings = examined(capsys, ML_INTERN_CLI_CONFIG=str(mine))
    assert code == 1
    assert "did you mean 'model_name'" in texts(findings, "settings")


def test_endpoints_are_tried_only_when_asked(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    start_model_server: ServerFactory,
) -> None:
    server = start_model_server()
    monkeypatch.setenv("ML_INTERN_MODEL_NAME", "vllm/x")
    monkeypatch.setenv("VLLM_BASE_URL", server.base_url)
    monkeypatch.setenv("HF_ENDPOINT", server.root_url)
    _, findings = examined(capsys)
    assert not states(findings, "online")
    code, findings = examined(capsys, online=True)
    assert code == 0
    assert states(findings, "online") == ["ok", "ok"]
    server.stop()
    code, findings = examined(capsys, online=True)
    assert code == 1
    assert server.base_url in texts(findings, "online")


def test_text_has_one_line_for_each_finding(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(os.environ, online=False, output="text") == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert {line.split()[0] for line in out.splitlines()} == {"ok", "note"}
