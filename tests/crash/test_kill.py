"""Killed at any instant and resumed, a run ends as it would have, and nothing is done twice."""

from __future__ import annotations

import os
import signal
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ml_intern.tests.bench.script import Script, Step
from ml_intern.tests.crash.launch import Cold, Warm, marked_processes
from ml_intern.tests.crash.points import Point, choose, every_tick, measure
from ml_intern.tests.crash.resume import try_point
from ml_intern.tests.crash.scenario import FINAL, MODELS, PROMPT, THREAD, Scenario, call
from ml_intern.tests.crash.verdict import breaches, read_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ml_intern.tests.crash.launch import Launcher

SEED = 20
AT_A_TIME = 2


def breached(points: Sequence[Point], folder: Path, launcher: Launcher) -> dict[str, list[str]]:
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        outcomes = pool.map(
            lambda numbered: try_point(numbered[1], folder / str(numbered[0]), launcher), enumerate(points)
        )
        return {str(point): wrong for point, wrong in zip(points, outcomes, strict=True) if wrong}


def test_a_run_killed_at_ten_instants_ends_as_if_nothing_had_happened(tmp_path: Path, warm: Warm) -> None:
    points = choose(measure(tmp_path / "measure", warm), 10, SEED)
    print(f"seed {SEED}:", *points)  # noqa: T201 - to repeat it by `-m ml_intern.tests.crash --only`
    assert breached(points, tmp_path, warm) == {}


def test_the_console_script_itself_survives_a_kill(tmp_path: Path) -> None:
    points = [Point("begin", "mark", "E2", "openai")]
    assert breached(points, tmp_path, Cold()) == {}


@pytest.mark.slow
def test_a_run_killed_at_sixty_instants_ends_as_if_nothing_had_happened(tmp_path: Path, warm: Warm) -> None:
    points = choose(measure(tmp_path / "measure", warm), 60, SEED + 1)
    assert breached(points, tmp_path, warm) == {}


@pytest.mark.slow
def test_a_run_killed_before_each_change_of_the_world_ends_as_if_nothing_had_happened(
    tmp_path: Path, warm: Warm
) -> None:
    points = every_tick(measure(tmp_path / "measure", warm))
    assert len(points) > 100
    assert breached(points, tmp_path, warm) == {}


def test_commands_that_a_killed_run_left_behind_are_ended_unless_their_call_had_finished(
    tmp_path: Path, warm: Warm
) -> None:
    """Above all one that only reads: it is run again, and the first one must not run beside it."""

    def script(scenario: Scenario) -> Script:
        server = scenario.effect("E1", f"nohup sleep 300 > {scenario.folder}/log 2>&1 & echo $!")
        follow = call("bash", command=f"tail -f {scenario.folder}/log", timeout=1)
        return Script([Step(tool_calls=[server]), Step(tool_calls=[follow]), FINAL], mode="by_turns")

    with Scenario(tmp_path / "s", warm, script) as scenario:
        run = scenario.run("-m", MODELS["openai"], "-t", THREAD, PROMPT)
        assert run.until(lambda: len(_commands(scenario)) == 2)
        followers = {pid for pid, name in _commands(scenario).items() if name == "tail"}
        run.kill()
        again = scenario.run("-r", THREAD)
        assert again.until(lambda: not followers & _commands(scenario).keys())
        assert again.wait() == 0
        left = _commands(scenario)
        assert list(left.values()) == ["sleep"]
        for pid in left:
            os.kill(pid, signal.SIGKILL)


def _commands(scenario: Scenario) -> dict[int, str]:
    """Processes that commands of the scenario started, by pid, shells left out."""
    names: dict[int, str] = {}
    for pid in marked_processes(scenario.mark):
        try:
            names[pid] = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
        except OSError:
            continue  # gone
    return {pid: name for pid, name in names.items() if name in ("sleep", "tail")}


def test_the_same_seed_chooses_the_same_instants_and_both_processes(tmp_path: Path, warm: Warm) -> None:
    course = measure(tmp_path, warm)
    points = choose(course, 40, 1)
    assert points == choose(course, 40, 1)
    assert points != choose(course, 40, 2)
    assert {point.phase for point in points} == {"begin", "approve"}
    assert {point.kind for point in points} == {"tick", "event", "request", "mark", "time"}


def test_a_breach_is_seen(tmp_path: Path, warm: Warm) -> None:
    """The judge itself: a mark that stands twice, and a result that was lost, are told."""
    with Scenario(tmp_path / "s", warm) as scenario:
        runs = [scenario.begin()]
        assert runs[0].wait() == 4
        runs.append(scenario.approve())
        assert runs[1].wait() == 0
        assert breaches(scenario, runs) == []
        scenario.marks.write_text("E1\nE1\nE2\nE4\n", encoding="utf-8")
        _change(scenario.database, "DELETE FROM steps WHERE step = 7")
        _change(scenario.database, "DELETE FROM events WHERE name = 'tool_output' AND data LIKE '%_0001_1%'")
        assert read_rows(scenario.database, "SELECT 1 FROM steps WHERE step = 7") == []
        told = "\n".join(breaches(scenario, runs))
    assert "E1 happened 2 times" in told
    assert "E3 happened 0 times" in told
    assert "has no tool_output" in told
    assert "is not stored" in told
    assert "steps are numbered" in told


def _change(database: Path, statement: str) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute(statement)
        connection.commit()


def test_a_resume_ends_nothing_of_a_thread_of_the_same_name_in_another_home(
    tmp_path: Path, warm: Warm
) -> None:
    def script(scenario: Scenario) -> Script:
        wait = f"while [ ! -e {scenario.folder}/go ]; do sleep 0.02; done"
        return Script([Step(tool_calls=[scenario.effect("E1", wait)]), FINAL], mode="by_turns")

    with Scenario(tmp_path / "a", warm, script) as one, Scenario(tmp_path / "b", warm, script) as other:
        first, second = (each.run("-m", MODELS["openai"], "-t", THREAD, PROMPT) for each in (one, other))
        assert first.until(lambda: one.marked() == ["E1"])
        assert second.until(lambda: other.marked() == ["E1"])
        first.kill()
        assert one.run("-r", THREAD).wait() == 0
        (other.folder / "go").touch()
        assert second.wait() == 0
        (output,) = [event["data"] for event in second.events if event["event"] == "tool_output"]
        assert output["success"] is True
