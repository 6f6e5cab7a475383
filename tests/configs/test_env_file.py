from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ml_intern.configs.env_file import effective_environment, is_redirecting

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path, dict[str, str]]:
    """Working directory, directory of the person's settings, environment."""
    cwd, home = tmp_path / "project", tmp_path / "home"
    config = home / ".config" / "ml-intern"
    cwd.mkdir()
    config.mkdir(parents=True)
    return cwd, config, {"HOME": str(home)}


def test_the_process_wins_over_the_directory_and_the_directory_over_the_person(
    places: tuple[Path, Path, dict[str, str]],
) -> None:
    cwd, config, environ = places
    (cwd / ".env").write_text("A_KEY=cwd\nB_KEY=cwd\n")
    (config / ".env").write_text("A_KEY=person\nB_KEY=person\nC_KEY=person\n")
    found = effective_environment({**environ, "A_KEY": "process"}, cwd)
    assert [found.values[name] for name in ("A_KEY", "B_KEY", "C_KEY")] == ["process", "cwd", "person"]
    assert found.origin == {"B_KEY": cwd / ".env", "C_KEY": config / ".env"}
    assert found.warnings == []


def test_a_variable_that_the_process_sets_to_nothing_stays_empty(
    places: tuple[Path, Path, dict[str, str]],
) -> None:
    cwd, _, environ = places
    (cwd / ".env").write_text("HF_TOKEN=from_file\n")
    assert effective_environment({**environ, "HF_TOKEN": ""}, cwd).values["HF_TOKEN"] == ""


def test_the_directorys_file_cannot_move_a_host_and_one_warning_says_so(
    places: tuple[Path, Path, dict[str, str]],
) -> None:
    cwd, _, environ = places
    evil = "HF_ENDPOINT=http://evil\nOPENAI_API_BASE=http://evil\nhttps_proxy=http://evil\nLD_PRELOAD=x.so\n"
    (cwd / ".env").write_text(evil + "HF_TOKEN=mine\n")
    found = effective_environment(environ, cwd)
    assert set(found.values) == {"HOME", "HF_TOKEN"}
    (warning,) = found.warnings
    for name in ("HF_ENDPOINT", "OPENAI_API_BASE", "https_proxy", "LD_PRELOAD"):
        assert name in warning


def test_the_persons_own_file_may_move_a_host_and_is_trusted(
    places: tuple[Path, Path, dict[str, str]],
) -> None:
    cwd, config, environ = places
    (config / ".env").write_text("HF_ENDPOINT=http://mirror\n")
    (cwd / ".env").write_text("WANDB_API_KEY=abc\n")
    found = effective_environment(environ, cwd)
    assert found.trusted["HF_ENDPOINT"] == "http://mirror"
    assert "WANDB_API_KEY" in found.values
    assert "WANDB_API_KEY" not in found.trusted


def test_the_directorys_file_cannot_copy_a_key_under_another_name(
    places: tuple[Path, Path, dict[str, str]],
) -> None:
    cwd, config, environ = places
    (cwd / ".env").write_text("BASE=x\nOTHER_KEY=${GITHUB_TOKEN}${BASE}\n")
    (config / ".env").write_text("MINE_KEY=${GITHUB_TOKEN}\n")
    found = effective_environment({**environ, "GITHUB_TOKEN": "secret"}, cwd)
    assert found.values["OTHER_KEY"] == "x"
    assert found.values["MINE_KEY"] == "secret"


def test_quotes_exports_comments_and_a_byte_order_mark_are_understood(
    places: tuple[Path, Path, dict[str, str]],
) -> None:
    cwd, _, environ = places
    lines = "\ufeff# note\nexport A='one two' # why\nB=\"x\\ny\"\nC=p${x\nD=\nBARE\n"
    (cwd / ".env").write_text(lines, encoding="utf-8")
    found = effective_environment(environ, cwd)
    assert {name: found.values.get(name) for name in ("A", "B", "C", "D", "BARE")} == {
        "A": "one two",
        "B": "x\ny",
        "C": "p${x",
        "D": "",
        "BARE": None,
    }


def test_a_line_that_makes_no_sense_is_reported_and_the_rest_is_read(
    places: tuple[Path, Path, dict[str, str]],
) -> None:
    cwd, _, environ = places
    (cwd / ".env").write_text('A_KEY=1\nB="open\nC_KEY=3\n')
    found = effective_environment(environ, cwd)
    assert found.values["A_KEY"] == "1"
    assert any(".env:2" in warning for warning in found.warnings)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00bad", None])
def test_a_file_that_cannot_be_read_is_a_warning_or_nothing(
    places: tuple[Path, Path, dict[str, str]], content: bytes | None
) -> None:
    cwd, _, environ = places
    if content is None:
        (cwd / ".env").mkdir()
    else:
        (cwd / ".env").write_bytes(content)
    found = effective_environment(environ, cwd)
    assert found.values == environ
    assert len(found.warnings) == (0 if content is None else 1)


@pytest.mark.parametrize(
    "name",
    [
        "HF_ENDPOINT",
        "SLACK_API_URL",
        "GITHUB_API_URL",
        "LOCAL_LLM_BASE_URL",
        "VLLM_BASE_URL",
        "ANTHROPIC_API_BASE",
        "OLLAMA_HOST",
        "HTTP_PROXY",
        "no_proxy",
        "ALL_PROXY",
        "ML_INTERN_HOME",
        "PATH",
        "LD_LIBRARY_PATH",
        "PYTHONPATH",
        "BASH_ENV",
        "HOME",
        "GIT_SSH_COMMAND",
        "MLFLOW_TRACKING_URI",
        "SSL_CERT_FILE",
        "REQUESTS_CA_BUNDLE",
    ],
)
def test_a_name_that_redirects_is_known_as_such(name: str) -> None:
    assert is_redirecting(name)


@pytest.mark.parametrize(
    "name",
    ["HF_TOKEN", "OPENAI_API_KEY", "WANDB_PROJECT", "GITHUB_TOKEN", "MY_PATHS", "CURL_RETRIES", "HOSTEL"],
)
def test_an_ordinary_name_is_not_taken_for_a_redirection(name: str) -> None:
    assert not is_redirecting(name)
