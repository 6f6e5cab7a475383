"""The command line from outside: what it refuses and how it says so, and what it loads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from ml_intern.tests.bench.command_line import CommandLine, Done

if TYPE_CHECKING:
    from pathlib import Path

    from ml_intern.tests.bench.script import Json
    from ml_intern.tests.conftest import ServerFactory

USAGE: list[tuple[str, list[str], str]] = [
    ("output format", ["-o", "xml", "hi"], "'xml'"),
    ("approval mode", ["--approve", "maybe", "hi"], "'maybe'"),
    ("iterations", ["--max-iterations", "x", "hi"], "'x' is no whole number"),
    ("no iterations", ["--max-iterations", "0", "hi"], "--max-iterations"),
    ("negative cost", ["--max-cost", "-1", "hi"], "--max-cost"),
    ("cost that is no number", ["--max-cost", "nan", "hi"], "--max-cost"),
    ("cost in words", ["--max-cost", "much", "hi"], "'much'"),
    ("unknown option", ["--modle", "x", "hi"], "--model"),
    ("option without value", ["hi", "-m"], "-m needs a value"),
    ("empty prompt", [""], "empty"),
    ("blank prompt", ["   "], "empty"),
    ("no prompt", [], "'-'"),
    ("second word", ["hello", "world"], "quote"),
    ("two threads", ["-c", "-t", "a", "hi"], "both choose the thread"),
    ("thread name", ["-t", "a/b", "-m", "ollama/x", "hi"], "'a/b'"),
    ("prompt from the stream of operations", ["--input", "stream-json", "-"], "operations"),
    ("unknown word of a group", ["threads", "burn"], "'burn'"),
    ("missing thread", ["history"], "thread"),
    ("superfluous word", ["models", "all"], "all"),
    ("format of a table", ["doctor", "-o", "stream-json"], "'stream-json'"),
]

FAILURES: list[tuple[str, list[str], dict[str, str], str]] = [
    ("no key", ["hi"], {}, "ANTHROPIC_API_KEY, OPENAI_API_KEY or HF_TOKEN"),
    ("Anthropic key", ["-m", "anthropic/x", "hi"], {}, "set ANTHROPIC_API_KEY"),
    ("HF token", ["-m", "huggingface/a/b", "hi"], {}, "set HF_TOKEN"),
    ("other key", ["-m", "groq/x", "hi"], {}, "set GROQ_API_KEY"),
    ("no model id", ["-m", "gpt", "hi"], {}, "'gpt'"),
    ("missing config", ["--config", "nope.json", "hi"], {}, "nope.json"),
    ("missing directory", ["--cwd", "nope", "-m", "ollama/x", "hi"], {}, "nope"),
    ("home that cannot be", ["-m", "ollama/x", "hi"], {"ML_INTERN_HOME": "/dev/null/x"}, "ML_INTERN_HOME"),
    ("nothing to continue", ["-c"], {}, "threads list --all"),
    ("nothing to resume", ["-r"], {}, "threads list --all"),
    (
        "price of a cap",
        ["-m", "openai/zz", "--max-cost", "1", "hi"],
        {"OPENAI_API_KEY": "k"},
        "price_overrides",
    ),
]


@pytest.fixture
def cli(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path)


def is_one_line(done: Done) -> bool:
    return done.err.startswith("Error: ") and done.err.count("\n") == 1 and "Traceback" not in done.err


def test_a_wrong_command_line_is_one_line_and_exit_2(cli: CommandLine) -> None:
    for (case, arguments, said), done in zip(
        USAGE, cli.each([arguments for _, arguments, _ in USAGE]), strict=True
    ):
        assert (case, done.code, done.out) == (case, 2, ""), (arguments, done)
        assert is_one_line(done), done.err
        assert said in done.err, done.err
        assert "--help" in done.err, done.err


def test_what_a_person_must_put_right_is_one_line_and_exit_1(cli: CommandLine) -> None:
    with ThreadPoolExecutor(2) as pool:
        ended = list(pool.map(lambda case: CommandLine(cli.cwd, case[2])(*case[1]), FAILURES))
    for (case, arguments, _, said), done in zip(FAILURES, ended, strict=True):
        assert (case, done.code, done.out) == (case, 1, ""), (arguments, done)
        assert is_one_line(done), done.err
        assert said in done.err, done.err


def test_a_failure_before_there_is_a_thread_is_an_object_too(cli: CommandLine) -> None:
    as_json, as_stream, keyless = cli.each(
        [
            ["-o", "json", "hi"],
            ["-o", "stream-json", "hi"],
            ["-o", "json", "-m", "openai/x", "-t", "new", "hi"],
        ]
    )
    assert (as_json.code, as_stream.code) == (1, 1)
    assert as_json.json["thread_id"] is None
    assert as_json.json["status"] == "error"
    assert "ANTHROPIC_API_KEY" in as_json.json["error"]
    assert as_stream.names == ["error"]
    assert as_stream.events[0]["thread_id"] is None
    assert (keyless.code, keyless.json["thread_id"]) == (1, None), "there is no such thread"
    assert is_one_line(as_json), as_json.err
    assert as_json.err == as_stream.err


def test_a_broken_config_names_file_line_and_the_nearest_key(cli: CommandLine) -> None:
    path = cli.cwd / "mine.json"
    path.write_text('{\n  "model_name": "ollama/x",\n  "max_iteration": 3\n}')
    done = cli("--config", str(path), "hi")
    assert done.code == 1
    assert is_one_line(done)
    assert f"{path}:3" in done.err
    assert "'max_iterations'" in done.err

    path.write_text('{"model_name": "ollama/x",}')
    done = cli("--config", str(path), "hi")
    assert done.code == 1
    assert is_one_line(done)
    assert f"{path}:1:" in done.err


def test_threads_are_found_by_prefix_and_near_ones_are_named(
    cli: CommandLine, start_model_server: ServerFactory
) -> None:
    server = start_model_server(["One.", "Two."])
    cli.env["VLLM_BASE_URL"] = server.base_url
    for name in ("train-a", "train-b"):
        assert cli("-m", "vllm/x", "-t", name, "hi").code == 0

    unknown, several, one, resumed = cli.each(
        [["threads", "show", "trian-a"], ["-r", "train"], ["threads", "show", "train-b"], ["-r", "train-b"]]
    )
    assert (unknown.code, several.code) == (1, 1)
    assert "did you mean train-a" in unknown.err
    assert "train-a, train-b" in several.err
    assert (one.code, one.out.splitlines()[0]) == (0, "train-b  hi")
    assert (resumed.code, resumed.out) == (0, "Two.\n")
    assert len(server.requests) == 2, "what is finished needs no model"


def test_a_model_that_cannot_be_used_is_named_with_its_endpoint(
    cli: CommandLine, start_model_server: ServerFactory
) -> None:
    script: Json = {"steps": ["Hi."], "models": ["there"], "require_key": "right"}
    server = start_model_server(script)
    cli.env |= {
        "OPENAI_BASE_URL": server.base_url,
        "OPENAI_API_KEY": "right",
        "VLLM_BASE_URL": server.base_url,
        "VLLM_API_KEY": "wrong-key-123",
        "OLLAMA_BASE_URL": "http://127.0.0.1:9",
    }
    unknown, refused, unreachable = cli.each(
        [
            ["-m", "openai/elsewhere", "hi"],
            ["-m", "vllm/there", "hi"],
            ["-m", "ollama/x", "-o", "json", "hi"],
        ]
    )
    for done in (unknown, refused, unreachable):
        assert done.code == 1
        assert "Traceback" not in done.err
    last = unknown.err.splitlines()[-1]
    assert last.startswith("Error: ")
    assert "openai/elsewhere" in last
    assert "-m" in last
    last = refused.err.splitlines()[-1]
    assert "VLLM_API_KEY" in last
    assert "wrong-key-123" not in refused.err
    assert "http://127.0.0.1:9" in unreachable.json["error"]
    assert unreachable.json["thread_id"], "the prompt is kept"


LIGHT: list[tuple[list[str], set[str]]] = [
    (["--help"], set()),
    (["--version"], set()),
    (["tools"], set()),
    (["threads", "list"], {"sqlalchemy"}),
]
HEAVY = {
    *("aiosqlite", "httpx", "huggingface_hub", "langchain_core", "langgraph", "litellm", "mcp", "openai"),
    *("prompt_toolkit", "rich", "sqlalchemy"),
}
"""Pydantic is not among them: Typer itself reads arguments with it."""


@pytest.mark.parametrize(("arguments", "allowed"), LIGHT, ids=str)
def test_light_commands_load_nothing_heavy(tmp_path: Path, arguments: list[str], allowed: set[str]) -> None:
    listing = tmp_path / "modules.json"
    code = f"""
import json, os, sys
from ml_intern import cli
def note(code):
    sys.stdout.flush()
    with open({str(listing)!r}, "w") as file:
        json.dump([code, sorted({HEAVY!r} & set(sys.modules))], file)
cli.leave = note
sys.argv[1:] = {arguments!r}
cli.main()
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=dict(os.environ), check=True, timeout=60)
    exit_code, loaded = json.loads(listing.read_text())
    assert exit_code == 0
    assert set(loaded) <= allowed
