"""Where a run is killed: which of its two processes, and what is waited for."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pathlib import Path

    from .launch import Launcher, Run
    from .scenario import Scenario, Wire

from .scenario import Scenario as _Scenario

Phase = Literal["begin", "approve"]
Kind = Literal["tick", "request", "event", "mark", "time"]


@dataclass(frozen=True, slots=True)
class Point:
    """One instant at which one process is killed."""

    phase: Phase
    kind: Kind
    value: str
    """tick: its number; request: how many arrived; event: `NAME:COUNT`; mark: its text; time: ms."""
    wire: Wire

    def __str__(self) -> str:
        return f"{self.phase}/{self.kind}/{self.value}/{self.wire}"


@dataclass(frozen=True, slots=True)
class Course:
    """What an undisturbed run does, from which points are chosen."""

    ticks: dict[Phase, list[str]]
    seconds: dict[Phase, float]
    events: dict[Phase, dict[str, int]]


def measure(folder: Path, launcher: Launcher) -> Course:
    """Run the scenario once without a kill."""
    course = Course({}, {}, {})
    with _Scenario(folder, launcher) as scenario:
        phases: tuple[Phase, ...] = ("begin", "approve")
        for phase in phases:
            log = folder / f"{phase}.ticks"
            started = time.monotonic()
            fuse = f"0:{log}"
            run = scenario.begin(fuse=fuse) if phase == "begin" else scenario.approve(fuse=fuse)
            expected = 4 if phase == "begin" else 0
            if run.wait() != expected:
                raise AssertionError(f"the undisturbed run ended with {run.exit_code}: {run.errors}")
            course.seconds[phase] = time.monotonic() - started
            course.ticks[phase] = log.read_text(encoding="utf-8").split("\n")[:-1]
            names = [event["event"] for event in run.events]
            course.events[phase] = {name: names.count(name) for name in dict.fromkeys(names)}
    return course


def every_tick(course: Course) -> list[Point]:
    """A kill at each moment at which the world outside may change."""
    points = []
    for phase, ticks in course.ticks.items():
        for number in range(1, len(ticks) + 1):
            points.append(Point(phase, "tick", str(number), "anthropic" if number % 2 else "openai"))
    return points


def choose(course: Course, count: int, seed: int) -> list[Point]:
    """Points of every kind, spread over the whole of both processes; the same for the same seed."""
    dice = random.Random(seed)
    points: list[Point] = []
    kinds: tuple[Kind, ...] = ("tick", "event", "tick", "request", "tick", "mark", "event", "time")
    for number in range(count):
        phase: Phase = "approve" if number % 2 else "begin"
        kind = kinds[number // 2 % len(kinds)]
        share = (number + dice.random()) / count
        wire: Wire = "anthropic" if dice.random() < 0.5 else "openai"
        points.append(Point(phase, kind, _value(course, phase, kind, share, dice), wire))
    return points


def _value(course: Course, phase: Phase, kind: Kind, share: float, dice: random.Random) -> str:
    if kind == "tick":
        return str(1 + int(share * len(course.ticks[phase])))
    if kind == "time":
        return str(int(dice.random() * course.seconds[phase] * 1000))
    if kind == "request":
        return str(dice.choice((1, 2, 3) if phase == "begin" else (4, 5)))
    if kind == "mark":
        return dice.choice(("E1", "E2") if phase == "begin" else ("E3", "E4"))
    name = dice.choice(sorted(course.events[phase]))
    return f"{name}:{dice.randint(1, course.events[phase][name])}"


def kill_at(point: Point, scenario: Scenario) -> list[Run]:
    """Run the scenario and kill it there; the runs so far, the killed one last."""
    runs = []
    if point.phase == "approve":
        runs.append(scenario.begin(point.wire))
        if runs[0].wait() != 4:
            raise AssertionError(f"the run before the approval ended with {runs[0].exit_code}")
    fuse = f"{point.value}:{scenario.folder / 'ticks'}" if point.kind == "tick" else ""
    started = time.monotonic()
    run = scenario.begin(point.wire, fuse) if point.phase == "begin" else scenario.approve(fuse)
    runs.append(run)
    if point.kind == "request":
        run.until(lambda: len(scenario.server.requests) >= int(point.value))
    elif point.kind == "event":
        name, _, count = point.value.partition(":")
        run.until(lambda: run.count(name) >= int(count))
    elif point.kind == "mark":
        run.until(lambda: point.value in scenario.marked())
    elif point.kind == "time":
        run.until(lambda: time.monotonic() - started >= int(point.value) / 1000)
    else:
        run.wait()
    run.kill()
    return runs
