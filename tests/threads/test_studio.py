from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from ml_intern.errors import UserError
from ml_intern.graphs.agent import build_agent
from ml_intern.tests.bench.script import Step, ToolCall
from ml_intern.threads.studio import agent

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig

    from ml_intern.tests.conftest import AsyncServerFactory

CONFIG: RunnableConfig = {"configurable": {"thread_id": "7d7a", "model": "vllm/scripted"}}
"""What the server gives: its own thread id, and what the person set in Studio."""


async def run(saver: InMemorySaver, what: Any) -> list[tuple[str, Any]]:
    """One run as the server does it: a graph of its own, the server's checkpointer, two streams."""
    async with agent(CONFIG) as builder:
        graph = builder.compile(checkpointer=saver)
        stream: Any = graph.astream(what, CONFIG, stream_mode=["updates", "custom"])
        return [part async for part in stream]


def events(parts: list[tuple[str, Any]]) -> list[str]:
    return [data["event"] for mode, data in parts if mode == "custom"]


def history(saver: InMemorySaver) -> list[dict[str, Any]]:
    graph = build_agent(saver)
    entries: list[dict[str, Any]] = graph.get_state(CONFIG).values["history"]
    return entries


@pytest.fixture
def saver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> InMemorySaver:
    monkeypatch.chdir(tmp_path)
    return InMemorySaver()


async def test_a_prompt_runs_a_turn_with_tools_and_streams_its_events(
    saver: InMemorySaver, model_server: AsyncServerFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = ToolCall("bash", {"command": "echo from-the-shell"})
    server = await model_server([Step(tool_calls=[call]), "It said so.", "Again."])
    monkeypatch.setenv("VLLM_BASE_URL", server.base_url)
    first = await run(saver, {"prompt": "what does the shell say?"})
    shown = [name for name in events(first) if name != "assistant_chunk"]
    asked = ["user_message", "llm_call", "assistant_stream_end", "tool_call", "tool_output"]
    assert shown == [*asked, "llm_call", "assistant_message", "assistant_stream_end"]
    second = await run(saver, {"prompt": "and now?"})
    assert events(second)[0] == "user_message"
    kinds = [entry["kind"] for entry in history(saver)]
    assert kinds == ["user", "assistant", "result", "assistant", "user", "assistant"]
    assert "from-the-shell" in history(saver)[2]["message"]["content"]
    assert [message["role"] for message in (server.requests[-1].body or {})["messages"]][:2] == [
        "system",
        "user",
    ]


async def test_an_approval_is_an_interrupt_that_the_next_run_resumes(
    saver: InMemorySaver, model_server: AsyncServerFactory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    outside = tmp_path.parent / f"{tmp_path.name}-outside.txt"
    writes = ToolCall("write", {"path": str(outside), "content": "approved\n"})
    server = await model_server([Step(tool_calls=[writes]), "Written."])
    monkeypatch.setenv("VLLM_BASE_URL", server.base_url)
    asked = (await run(saver, {"prompt": "write"}))[-1][1]["__interrupt__"][0].value
    assert not outside.exists()
    decisions = {call["tool_call_id"]: {"approved": True} for call in asked["tools"]}
    await run(saver, Command(resume={"payload_hash": asked["payload_hash"], "decisions": decisions}))
    assert outside.read_text() == "approved\n"
    assert [entry["kind"] for entry in history(saver)] == ["user", "assistant", "result", "assistant"]


async def test_without_a_thread_the_factory_gives_the_picture_alone(clean_environment: Path) -> None:
    async with agent({}) as builder:
        drawn = builder.compile().get_graph()
    assert drawn.draw_mermaid() == build_agent().get_graph().draw_mermaid()
    assert list(clean_environment.iterdir()) == []


async def test_a_first_run_without_a_prompt_says_what_is_missing(
    saver: InMemorySaver, model_server: AsyncServerFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_BASE_URL", (await model_server()).base_url)
    with pytest.raises(UserError, match=r'the input of a run is \{"prompt"'):
        await run(saver, {"prompt": " "})


def test_langgraph_json_names_this_factory() -> None:
    config = json.loads((Path(__file__).parents[2] / "langgraph.json").read_text(encoding="utf-8"))
    module, _, name = config["graphs"]["ml-intern"]["path"].partition(":")
    assert (module, name) == (agent.__module__, agent.__name__)
