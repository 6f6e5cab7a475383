"""The demo as people see it: unattended, at a terminal, and killed in its middle."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ml_intern.tests.bench.command_line import ENTRY, CommandLine
from ml_intern.tools.policy import evaluate

if TYPE_CHECKING:
    from ml_intern.tests.bench.command_line import Done


@pytest.fixture
def cli(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path)


def directory(text: str) -> Path:
    found = re.search(r"^directory +(\S+)", text, re.MULTILINE)
    assert found, text
    return Path(found[1])


def test_the_demo_runs_unattended_and_the_commands_it_shows_work(cli: CommandLine) -> None:
    done = cli("demo")
    assert done.code == 0, done.err
    assert "The model of this demo is scripted" in done.out
    assert "55.0 % with the plain inputs, 87.5 % with their squares" in done.out
    assert "test_accuracy=0.8750" in done.err
    assert "answers yes itself" in done.err
    place = directory(done.out)
    assert place.is_relative_to(os.environ["ML_INTERN_HOME"])
    assert [path.name for path in (place / "runs").iterdir()] == ["squares"]
    assert not list(cli.cwd.iterdir()), "the directory it is started in is left alone"

    shown = re.findall(r"^  ml-intern (.*?)  ", done.out, re.MULTILINE)
    assert shown
    plain = [line.split() for line in shown if "MODEL" not in line and "DIR" not in line]
    for line, ended in zip(plain, cli.each(plain), strict=True):
        assert ended.code == 0, (line, ended)


def test_a_demo_killed_in_the_middle_is_finished_by_a_resume(cli: CommandLine) -> None:
    with cli.start("demo") as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("> bash"):
                process.send_signal(signal.SIGKILL)
                break
        assert process.stdout is not None
        thread = directory(process.stdout.read()).name
    waiting: Done = cli("-r", thread)
    assert waiting.code == 4, waiting.err  # going on keeps the mode the demo began in: it asks
    done: Done = cli("approve", thread, "--yes")
    assert done.code == 0, done.err
    assert "87.5 % with their squares" in done.out
    assert "> write" not in done.err, "what was finished does not run again"


def test_the_scratch_directory_opens_no_way_to_the_rest_of_the_home(tmp_path: Path) -> None:
    home = tmp_path / "ml-intern"
    place = home / "scratch" / "t"
    place.mkdir(parents=True)
    (place / "link").symlink_to(home / "ml-intern.db")

    def action(tool: str, **arguments: str) -> str:
        return evaluate(tool, arguments, cwd=place, home=tmp_path, state_dir=home).action

    assert action("write", path="train.py", content="") == "allow"
    assert action("bash", command="rm -r runs") == "ask"
    assert action("write", path="../../ml-intern.db", content="") == "deny"
    assert action("write", path="link", content="") == "deny"
    assert action("bash", command="rm ../../locks/t.lock") == "deny"
    assert action("bash", command="rm -r ..") == "deny"


def test_at_a_terminal_the_demo_asks_and_takes_a_no(cli: CommandLine) -> None:
    screen = b""
    master, slave = pty.openpty()
    with subprocess.Popen(
        [*ENTRY, "demo"],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        cwd=cli.cwd,
        env={**os.environ, "NO_COLOR": "1"},
    ) as process:
        os.close(slave)
        while b"[Y/n]" not in screen:
            screen += os.read(master, 65_536)
        os.write(master, b"n\n")
        while piece := _read(master):
            screen += piece
        assert process.wait(60) == 0
    os.close(master)
    text = screen.decode().replace("\r\n", "\n")
    assert "rm -r runs/linear" in text
    assert "were not deleted: The user refused" in text
    assert sorted(path.name for path in (directory(text) / "runs").iterdir()) == ["linear", "squares"]


def _read(master: int) -> bytes:
    try:
        return os.read(master, 65_536)
    except OSError:  # Linux says so when the other end is closed
        return b""
