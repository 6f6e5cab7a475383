"""Go on after a kill as a person would, and judge the outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .points import Point, kill_at
from .scenario import MODELS, THREAD, Scenario
from .verdict import breaches, read_rows

if TYPE_CHECKING:
    from pathlib import Path

    from .launch import Launcher, Run

MOST_RUNS = 6


def try_point(point: Point, folder: Path, launcher: Launcher) -> list[str]:
    """Kill at the point, resume until the turn is done; what is wrong afterwards."""
    with Scenario(folder, launcher) as scenario:
        try:
            runs = kill_at(point, scenario)
            return [*_go_on(scenario, point, runs), *breaches(scenario, runs)]
        except AssertionError as error:
            return [f"{type(error).__name__}: {error}"]


def _go_on(scenario: Scenario, point: Point, runs: list[Run]) -> list[str]:
    """Resume by `-r`, over the other wire than before, until exit code 0; appends to the runs."""
    other = MODELS["openai" if point.wire == "anthropic" else "anthropic"]
    complaints: list[str] = []
    while len(runs) < MOST_RUNS:
        asked = _asked(scenario)
        # A question once asked is not answered by the default of a later run: the flag is left away then.
        flags = [] if asked else ["--approve", "ask"]
        run = scenario.run("-m", other, *flags, "-r", THREAD)
        runs.append(run)
        code = run.wait()
        if code == 4:
            runs.append(scenario.approve())
            code = runs[-1].wait()
        if code == 0:
            return complaints
        if code != 1 or _taken(scenario):
            return [f"-r ended with {code}: {run.errors[-800:]} {run.events[-1:]}"]
        # The run was killed before it had stored its prompt: nothing may have happened yet.
        if scenario.marked() or scenario.server.requests:
            complaints.append("something was done for a prompt that was not stored")
        runs.append(scenario.begin(point.wire))
        code = runs[-1].wait()
        if code != 4:
            return [*complaints, f"the second try ended with {code}: {runs[-1].errors[-800:]}"]
    return [*complaints, f"not done after {len(runs)} runs"]


def _taken(scenario: Scenario) -> bool:
    """Whether the prompt was stored."""
    return bool(_count(scenario, "SELECT 1 FROM events WHERE name = 'user_message'"))


def _asked(scenario: Scenario) -> bool:
    """Whether the question to the person was asked: the graph waits for an answer, or did."""
    query = "SELECT 1 FROM writes WHERE channel = '__interrupt__'"
    return bool(_count(scenario, query))


def _count(scenario: Scenario, query: str) -> int:
    if not scenario.database.exists():
        return 0
    tables = {row["name"] for row in read_rows(scenario.database, "SELECT name FROM sqlite_master")}
    if not {"events", "writes"} <= tables:
        return 0
    return len(read_rows(scenario.database, query))
