"""Killed at any instant and resumed, a run ends as it would have, and nothing is done twice."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from ml_intern.tests.crash.launch import Cold, Warm
from ml_intern.tests.crash.points import Point, choose, every_tick, measure
from ml_intern.tests.crash.resume import try_point

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

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


def test_the_same_seed_chooses_the_same_instants_and_both_processes(tmp_path: Path, warm: Warm) -> None:
    course = measure(tmp_path, warm)
    points = choose(course, 40, 1)
    assert points == choose(course, 40, 1)
    assert points != choose(course, 40, 2)
    assert {point.phase for point in points} == {"begin", "approve"}
    assert {point.kind for point in points} == {"tick", "event", "request", "mark", "time"}


def test_a_breach_is_seen(tmp_path: Path, warm: Warm) -> None:
    """The judge itself: a mark that stands twice, and a result that was lost, are told."""
    from ml_intern.tests.crash.scenario import Scenario  # noqa: PLC0415 - only here
    from ml_intern.tests.crash.verdict import breaches, read_rows  # noqa: PLC0415 - only here

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
    import sqlite3  # noqa: PLC0415 - only here
    from contextlib import closing  # noqa: PLC0415 - only here

    with closing(sqlite3.connect(database)) as connection:
        connection.execute(statement)
        connection.commit()
