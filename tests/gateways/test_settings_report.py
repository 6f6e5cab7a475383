"""`ml-intern config`: sources named, secrets kept, a first file that the loader takes."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from ml_intern.configs.settings import load_settings
from ml_intern.errors import UserError
from ml_intern.gateways.redaction import MARK
from ml_intern.gateways.settings_report import show_paths, show_settings, without_secrets, write_user_file

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Path of a settings file of one's own, which is not there yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ML_INTERN_CLI_CONFIG", str(tmp_path / "mine" / "settings.json"))
    return tmp_path / "mine" / "settings.json"


def shown(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, Any]]:
    show_settings(os.environ, output="json")
    return {row["key"]: row for row in json.loads(capsys.readouterr().out)}


def test_each_setting_says_who_set_it_and_whether_it_acts(
    mine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine.parent.mkdir()
    mine.write_text('{"max_cost": 3, "auto_save_interval": 5}')
    monkeypatch.setenv("ML_INTERN_RETRIES", "7")
    rows = shown(capsys)
    assert (rows["max_cost"]["value"], rows["max_cost"]["origin"]) == (3.0, str(mine))
    assert (rows["retries"]["value"], rows["retries"]["origin"]) == (7, "ML_INTERN_RETRIES")
    assert rows["stream"]["origin"] == "default"
    assert rows["stream"]["no_effect"] is None
    assert rows["auto_save_interval"]["no_effect"]

    show_settings(os.environ, output="text")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(rows) + 1


def test_no_secret_of_a_server_or_a_destination_is_shown(
    mine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SLACK_TOKEN", "plain-words-9")
    servers = {
        "one": {
            "command": "serve",
            "args": ["--verbose", "--api-key", "s3cret-a", "--token=s3cret-b", "name"],
            "env": {"MY_PASSWORD": "s3cret-c", "MODE": "fast"},
        },
        "two": {
            "url": "https://u:s3cret-d@x.test/mcp?key=s3cret-e",
            "headers": {"Authorization": "s3cret-f", "X-Auth": "s3cret-h"},
            "sse": "https://x.test/sse?X-Amz-Signature=s3cret-g",
        },
    }
    destinations = {"team": {"kind": "slack", "token": "${SLACK_TOKEN}", "channel": "#ml"}}
    mine.parent.mkdir()
    mine.write_text(json.dumps({"mcpServers": servers, "messaging": {"destinations": destinations}}))
    rows = shown(capsys)
    text = json.dumps(rows)
    assert "s3cret" not in text
    assert "plain-words-9" not in text
    server = rows["mcpServers"]["value"]["one"]
    assert server["args"] == ["--verbose", "--api-key", MARK, f"--token={MARK}", "name"]
    assert server["env"]["MODE"] == "fast"
    assert rows["messaging"]["value"]["destinations"]["team"]["channel"] == "#ml"


def test_what_is_no_secret_is_left() -> None:
    value = {
        "compact_at_tokens": 5,
        "x": ["-v", "a", "--tokenizer", "b"],
        "y": None,
        "tokenizer": "bert",
        "z": "https://x.test/?page=2",
    }
    assert without_secrets(value) == value


def test_init_writes_a_private_file_that_changes_nothing_and_is_never_overwritten(
    mine: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    write_user_file(os.environ)
    assert capsys.readouterr().out == f"{mine}\n"
    assert mine.stat().st_mode & 0o777 == 0o600
    loaded = load_settings(environ=os.environ, cwd=tmp_path)
    without = {name: value for name, value in os.environ.items() if name != "ML_INTERN_CLI_CONFIG"}
    assert loaded.settings == load_settings(environ=without, cwd=tmp_path).settings
    assert not loaded.warnings

    mine.write_text("mine")
    with pytest.raises(UserError, match="left as it is"):
        write_user_file(os.environ)
    assert mine.read_text() == "mine"


def test_init_says_when_it_cannot_write(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ML_INTERN_CLI_CONFIG", "/dev/null/settings.json")
    with pytest.raises(UserError, match="cannot be written"):
        write_user_file(os.environ)


def test_paths_are_shown_also_when_their_content_is_broken(
    mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = tmp_path / ".ml-intern" / "config.json"
    project.parent.mkdir()
    project.write_text("{ broken")
    (tmp_path / ".env").write_text("OPENAI_API_KEY=x")
    show_paths(os.environ, output="json")
    rows = json.loads(capsys.readouterr().out)
    assert [row["role"] for row in rows] == ["defaults", "yours", "project", "keys"]
    assert rows[1] == {"role": "yours", "path": str(mine), "exists": False}
    assert rows[2]["path"] == str(project)
    assert rows[3]["path"] == str(tmp_path / ".env")

    show_paths(os.environ, output="text")
    assert "config init" in capsys.readouterr().out


def test_keys_that_begin_with_two_slashes_are_comments_anywhere(mine: Path, tmp_path: Path) -> None:
    mine.parent.mkdir()
    mine.write_text('{"//": "a", "//": "b", "policy": {"// why": "c", "deny": ["bash"]}}')
    loaded = load_settings(environ=os.environ, cwd=tmp_path)
    assert [rule.tool for rule in loaded.settings.policy.deny] == ["bash"]
