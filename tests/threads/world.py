"""Threads opened in this process: real stores, real tools, and a model server on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import pytest

from ml_intern.configs.settings import load_settings
from ml_intern.llm.client import ModelClient
from ml_intern.tests.bench.model_server import ModelServer
from ml_intern.tests.bench.script import Script, Step, ToolCall, script_from
from ml_intern.threads import listing
from ml_intern.threads.model_settings import model_settings
from ml_intern.threads.opening import Opening, open_session, open_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator
    from pathlib import Path

    from ml_intern.events import Event
    from ml_intern.graphs.state import Entry
    from ml_intern.tests.bench.script import ScriptLike
    from ml_intern.threads.session import Session

THREAD = "t1"


@dataclass
class Opened:
    """An open thread and all it has said."""

    session: Session
    events: list[Event] = field(default_factory=list)

    async def take(self, prompt: str = "Go.") -> Event:
        """Run a turn; gives its closing event."""
        await self.session.take(prompt)
        return self.events[-1]

    async def go_on(self, *, fresh_count: bool = True) -> Event:
        """Go on with what is under way; gives the closing event."""
        await self.session.go_on(fresh_count=fresh_count)
        return self.events[-1]

    async def answer(self, *approved: bool, feedback: str = "") -> Event:
        """Answer the waiting approval call by call; gives the closing event."""
        waiting = await self.session.waiting()
        assert waiting is not None, "nothing waits"
        calls = waiting["payload"]["tools"]
        decisions = {
            call["tool_call_id"]: {"approved": yes, "feedback": feedback}
            for call, yes in zip(calls, approved, strict=True)
        }
        await self.session.answer({"payload_hash": waiting["payload_hash"], "decisions": decisions})
        return self.events[-1]

    def change(self, **context: Any) -> None:
        """Change what the nodes use of the world."""
        self.session.context = dataclasses.replace(self.session.context, **context)

    def said(self, *names: str) -> list[dict[str, Any]]:
        """Data of the events of these names, in order."""
        return [event.data for event in self.events if event.name in names]

    async def history(self) -> list[Entry]:
        """The newest history."""
        entries: list[Entry] = (await self.session.state()).get("history", [])
        return entries

    async def results(self) -> list[str]:
        """Texts of all results, in the order the history has them."""
        return [entry["message"]["content"] for entry in await self.history() if entry["kind"] == "result"]

    async def until(self, met: Callable[[Event], bool]) -> Event:
        """Wait for an event, also one that came already."""
        async with asyncio.timeout(30):
            while True:
                for event in self.events:
                    if met(event):
                        return event
                await asyncio.sleep(0.005)


@dataclass
class World:
    """One home, one directory, one scripted model."""

    folder: Path
    server: ModelServer
    model_id: str = "vllm/scripted"

    @property
    def home(self) -> Path:
        """`ML_INTERN_HOME`."""
        return self.folder / "home" / "ml-intern"

    @property
    def work(self) -> Path:
        """Directory the thread works in."""
        return self.folder / "work"

    @property
    def env(self) -> dict[str, str]:
        """Environment of the thread: keys that only the loopback server takes."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home.parent),
            "ML_INTERN_HOME": str(self.home),
            "VLLM_BASE_URL": self.server.base_url,
            "OPENAI_BASE_URL": self.server.base_url,
            "OPENAI_API_KEY": "sk-scripted",
            "ANTHROPIC_BASE_URL": self.server.root_url,
            "ANTHROPIC_API_KEY": "sk-ant-scripted",
        }

    def opening(self, thread_id: str = THREAD, **settings: Any) -> Opening:
        """How the thread is opened; `settings` are those of the command line, or fields of the opening."""
        names = {item.name for item in dataclasses.fields(Opening)}
        chosen = {name: settings.pop(name) for name in list(settings) if name in names}
        loaded = load_settings(environ=self.env, cwd=self.work, flags=settings)
        quick = dataclasses.replace(
            model_settings(loaded.settings, loaded.env, thread_id), backoff_s=0.01, rate_limit_backoff_s=0.01
        )
        model_id = chosen.pop("model_id", self.model_id)
        model = chosen.pop("model", None) or ModelClient(model_id, quick)
        chosen.setdefault("create", True)
        return Opening(
            thread_id=thread_id, cwd=self.work, loaded=loaded, model_id=model_id, model=model, **chosen
        )

    @contextlib.asynccontextmanager
    async def open(self, thread_id: str = THREAD, **settings: Any) -> AsyncIterator[Opened]:
        """The thread, open until the block ends."""
        events: list[Event] = []
        opening = self.opening(thread_id, **settings)
        store = open_store(self.home)
        try:
            session = await open_session(self.home, store, opening, events.append)
        except BaseException:
            store.close()
            raise
        try:
            yield Opened(session, events)
        finally:
            await session.close()

    def stored(self, *names: str, thread_id: str = THREAD) -> list[dict[str, Any]]:
        """Rows of the stored events."""
        found: list[dict[str, Any]] = self._read(lambda store: listing.event_rows(store, thread_id, names))
        return found

    def steps(self, thread_id: str = THREAD) -> list[dict[str, Any]]:
        """Rows of the steps."""
        found: list[dict[str, Any]] = self._read(lambda store: listing.step_rows(store, thread_id))
        return found

    def row(self, thread_id: str = THREAD) -> dict[str, Any]:
        """The thread's row."""
        return self._read(lambda store: listing.thread_row(store, thread_id)) or {}

    def messages(self, request: int = -1) -> list[dict[str, Any]]:
        """What the model was sent, in OpenAI's form."""
        body = self.server.requests[request].body
        assert body is not None
        messages: list[dict[str, Any]] = body["messages"]
        return messages

    def _read(self, read: Callable[[Any], Any]) -> Any:
        store = open_store(self.home)
        try:
            return read(store)
        finally:
            store.close()


class Worlds:
    """Makes worlds, and stops their servers."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        self._servers = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._servers.close()

    def __call__(self, *steps: Any, model_id: str = "vllm/scripted", **script: Any) -> World:
        """A world whose model plays these steps; `script` holds further fields of `Script`."""
        self._count += 1
        folder = self._folder / str(self._count)
        world = World(
            folder, self._servers.enter_context(ModelServer(_script(steps, script))), model_id=model_id
        )
        world.work.mkdir(parents=True)
        world.home.parent.mkdir(parents=True)
        return world


@pytest.fixture
def worlds(tmp_path: Path) -> Iterator[Worlds]:
    """Make worlds: `worlds("Hello!")` has a model that says hello."""
    with Worlds(tmp_path) as make:
        yield make


def _script(steps: Iterable[Any], more: dict[str, Any]) -> ScriptLike:
    return Script(**{"steps": script_from(list(steps)).steps, **more})


def call(tool: str, call_id: str | None = None, /, **arguments: Any) -> ToolCall:
    """A tool call of the model."""
    return ToolCall(tool, arguments, call_id)


def calls(*wanted: ToolCall, text: str = "", **more: Any) -> Step:
    """An answer that asks for tools."""
    return Step(text=text, tool_calls=wanted, **more)


def bash(command: str, call_id: str | None = None) -> ToolCall:
    """A shell command of the model."""
    return call("bash", call_id, command=command)


def arguments(wanted: dict[str, Any]) -> dict[str, Any]:
    """Decoded arguments of a tool call in a message."""
    decoded: dict[str, Any] = json.loads(wanted["function"]["arguments"])
    return decoded
