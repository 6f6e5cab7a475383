"""The run that is killed: parallel reads, writes, commands with effects, an approval, a slow answer."""

from __future__ import annotations

import os
import uuid
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ml_intern.tests.bench.model_server import ModelServer
from ml_intern.tests.bench.script import Script, Step, ToolCall

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from typing import Literal, Self

    from .launch import Launcher, Run

    Wire = Literal["openai", "anthropic"]

THREAD = "victim"
PROMPT = "Read the notes, change the code, count what you do."
FINAL = "Everything is done: the notes are written, the code is changed, and each mark stands once."
EFFECTS = ("E1", "E2", "E3", "E4")
"""Marks that commands leave in a file, one line each."""
NEEDS_APPROVAL = "E3"
NO_LIMITS: Mapping[str, int] = MappingProxyType({})
MODELS = {"openai": "vllm/scripted", "anthropic": "anthropic/claude-scripted"}


class Scenario:
    """One directory, one home, one scripted model; every run of it is the same program."""

    def __init__(
        self, folder: Path, launcher: Launcher, script: Callable[[Scenario], Script] | None = None
    ) -> None:
        self.folder = folder
        self.launcher = launcher
        self.home = folder / "home" / "ml-intern"
        self.work = folder / "work"
        self.marks = folder / "marks.txt"
        self.mark = f"crash-{uuid.uuid4().hex}"
        """Stands in the environment of every process of this scenario."""
        for path in (folder / "home", self.work):
            path.mkdir(parents=True, exist_ok=True)
        (self.work / "a.txt").write_text("alpha\n", encoding="utf-8")
        (self.work / "b.txt").write_text("beta\n", encoding="utf-8")
        (self.work / "code.py").write_text("value = 1\n", encoding="utf-8")
        self.server = ModelServer(script(self) if script else self.script())

    def __enter__(self) -> Self:
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stop()

    @property
    def database(self) -> Path:
        """The file everything is stored in."""
        return self.home / "ml-intern.db"

    def script(self) -> Script:
        """What the model says; the same request always gets the same answer."""
        steps = [
            Step(
                text="I look at the notes first.",
                tool_calls=[
                    call("read", path="a.txt"),
                    call("read", path="code.py"),
                    call("bash", command="cat a.txt b.txt"),
                ],
                delay_s=0.03,
                chunk_chars=4,
                chunk_delay_s=0.002,
            ),
            Step(
                tool_calls=[
                    call("write", path="notes.txt", content="alpha and beta\n"),
                    self.effect("E1", "sleep 0.05; echo slowly; sleep 0.05"),
                    call("read", path="notes.txt"),
                    self.effect("E2", "true"),
                ],
                delay_s=0.03,
            ),
            Step(
                tool_calls=[
                    call("edit", path="code.py", old_str="value = 1", new_str="value = 2"),
                    self.effect("E3", "rm -rf build"),
                    call("read", path="b.txt"),
                ],
                delay_s=0.03,
            ),
            Step(
                tool_calls=[
                    call("plan_tool", todos=[{"id": "1", "content": "all of it", "status": "completed"}]),
                    self.effect("E4", "sleep 0.05"),
                ],
                delay_s=0.03,
            ),
            Step(text=FINAL, delay_s=0.03, chunk_chars=3, chunk_delay_s=0.003),
        ]
        return Script(steps, mode="by_turns")

    def environment(self) -> dict[str, str]:
        """Environment of the runs: the scripted model under both wires, and a mark to find processes by."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home.parent),
            "ML_INTERN_HOME": str(self.home),
            "VLLM_BASE_URL": self.server.base_url,
            "ANTHROPIC_BASE_URL": self.server.root_url,
            "ANTHROPIC_API_KEY": "sk-ant-scripted",
            "CRASH_MARK": self.mark,
        }

    def run(
        self,
        *arguments: str,
        fuse: str = "",
        output: str = "stream-json",
        limits: Mapping[str, int] = NO_LIMITS,
    ) -> Run:
        """Start the command line with these arguments."""
        env = self.environment() | ({"CRASH_FUSE": fuse} if fuse else {})
        return self.launcher.start([*arguments, "-o", output], cwd=self.work, env=env, limits=limits)

    def begin(self, wire: Wire = "openai", fuse: str = "", output: str = "stream-json") -> Run:
        """The first run: it stops at the approval when nothing kills it."""
        model = MODELS[wire]
        return self.run("-m", model, "-t", THREAD, "--approve", "ask", PROMPT, fuse=fuse, output=output)

    def approve(self, fuse: str = "") -> Run:
        """The second run: the answer, and all that comes after it."""
        return self.run("approve", THREAD, "--yes", fuse=fuse)

    def marked(self) -> list[str]:
        """The marks that were left, in order."""
        return self.marks.read_text(encoding="utf-8").split() if self.marks.exists() else []

    def effect(self, mark: str, then: str = "true") -> ToolCall:
        """A command that leaves its mark and then does something."""
        return call("bash", command=f"printf '{mark}\\n' >> {self.marks}; {then}")


def call(tool: str, **arguments: Any) -> ToolCall:
    """One tool call of the scripted model."""
    return ToolCall(tool, arguments)
