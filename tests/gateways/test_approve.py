"""Answers from another terminal: somebody goes on with every one of them."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

import pytest

from ml_intern.configs.home import ml_intern_home
from ml_intern.tests.bench.command_line import LONGEST_S, CommandLine
from ml_intern.tests.bench.script import Step, ToolCall
from ml_intern.threads import lease, listing
from ml_intern.threads.opening import open_store

if TYPE_CHECKING:
    from pathlib import Path

    from ml_intern.tests.conftest import ServerFactory


@pytest.fixture
def cli(tmp_path: Path, start_model_server: ServerFactory) -> CommandLine:
    """A thread `a` that waits to be allowed to delete the directory `one`."""
    (tmp_path / "one").mkdir()
    home = tmp_path / "state"
    cli = CommandLine(tmp_path, {"ML_INTERN_MODEL_NAME": "vllm/x", "ML_INTERN_HOME": str(home)})
    server = start_model_server([Step(tool_calls=[ToolCall("bash", {"command": "rm -r one"})]), "Done."])
    cli.env["VLLM_BASE_URL"] = server.base_url
    assert cli("-t", "a", "--approve", "ask", "clean up").code == 4
    return cli


def home_of(cli: CommandLine) -> Path:
    return ml_intern_home({**cli.env, "HOME": str(cli.cwd)})


def question(cli: CommandLine) -> dict[str, Any]:
    """What waits in thread `a`."""
    with contextlib.closing(open_store(home_of(cli))) as store:
        waiting = listing.waiting_approval(store, "a")
    assert waiting is not None
    return waiting


def leave(cli: CommandLine, approved: bool) -> None:
    """Answer as another terminal does, with nobody there to take it."""
    waiting = question(cli)
    decisions = {call["tool_call_id"]: {"approved": approved} for call in waiting["payload"]["tools"]}
    with contextlib.closing(open_store(home_of(cli))) as store:
        listing.leave_answer(store, "a", {"payload_hash": waiting["payload_hash"], "decisions": decisions})


def test_an_answer_that_the_ending_holder_does_not_take_is_acted_on_here(cli: CommandLine) -> None:
    held = lease.take(home_of(cli), "a")
    with cli.start("approve", "a", "--yes", "-o", "json") as process:
        until = time.monotonic() + LONGEST_S
        while question(cli)["answer"] is None:
            assert time.monotonic() < until
            time.sleep(0.02)
        held.release()
        out, err = process.communicate(timeout=LONGEST_S)
    assert (process.returncode, '"final_response": "Done."' in out) == (0, True), err
    assert not (cli.cwd / "one").exists()


def test_an_answer_that_nobody_took_is_finished_and_not_turned_round(cli: CommandLine) -> None:
    leave(cli, True)
    contrary = cli("approve", "a", "--no", "-o", "json")
    assert (contrary.code, contrary.json["status"], contrary.json["thread_id"]) == (1, "error", "a")
    assert "answered otherwise before (yes to bash)" in contrary.json["error"]
    assert len(contrary.err.splitlines()) == 1
    assert (cli.cwd / "one").is_dir()
    finished = cli("approve", "a")
    assert (finished.code, finished.out) == (0, "Done.\n")
    assert not (cli.cwd / "one").exists()


def test_programs_get_an_object_whatever_became_of_the_answer(cli: CommandLine) -> None:
    unknown, lines = cli.each(
        [["approve", "zzz", "--yes", "-o", "json"], ["approve", "zzz", "--yes", "-o", "stream-json"]]
    )
    assert (unknown.code, unknown.json["status"], unknown.json["thread_id"]) == (1, "error", None)
    assert (lines.code, lines.names) == (1, ["error"])
    held = lease.take(home_of(cli), "a")
    try:
        passed_on = cli("approve", "a", "--yes", "-o", "json")
    finally:
        held.release()
    assert (passed_on.code, passed_on.json["status"], passed_on.json["thread_id"]) == (0, "done", "a")
    assert "goes on with it" in passed_on.err
    assert cli("approve", "a").code == 0
    nothing = cli("approve", "a", "--yes", "-o", "json")
    assert (nothing.code, nothing.json["thread_id"]) == (1, "a")
    assert "waits for no approval" in nothing.json["error"]
