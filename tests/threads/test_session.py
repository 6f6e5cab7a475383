from __future__ import annotations

import asyncio
import os
import stat
from typing import TYPE_CHECKING, Any

import aiosqlite
import pytest
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import END, START, StateGraph

from ml_intern.errors import ThreadHeld, UserError
from ml_intern.graphs.state import SNAPSHOT_EVERY, AgentState, AgentUpdate
from ml_intern.tests.bench.script import Step
from ml_intern.tests.threads.world import bash, call, calls
from ml_intern.threads.store import DATABASE_NAME

if TYPE_CHECKING:
    from ml_intern.tests.threads.world import Opened, World, Worlds

CLOSING = ("turn_complete", "limit_reached", "interrupted", "error", "approval_required")


async def rows(world: World, query: str) -> list[Any]:
    """What LangGraph and we have written, read from outside."""
    async with aiosqlite.connect(world.home / DATABASE_NAME) as connection:
        return list(await connection.execute_fetchall(query))


async def stop_while(thread: Opened, name: str, **data: Any) -> None:
    """Interrupt the turn as soon as an event with this data is seen."""
    await thread.until(lambda event: event.name == name and data.items() <= event.data.items())
    thread.session.interrupt("SIGINT")


async def interrupted(thread: Opened, prompt: str, name: str, **data: Any) -> str:
    """Run a turn and interrupt it at an event; gives the name of its closing event."""
    async with asyncio.timeout(30):
        end, _ = await asyncio.gather(thread.take(prompt), stop_while(thread, name, **data))
    return str(end.name)


async def test_a_turn_closes_once_and_leaves_the_thread_idle(worlds: Worlds) -> None:
    world = worlds(calls(bash("echo hi > a.txt; cat a.txt")), "It says hi.")
    async with world.open() as thread:
        end = await thread.take("Say hi.")
        assert end.data == {"final_response": "It says hi.", "history_size": 4, "iterations": 2}
        assert sum(event.name in CLOSING for event in thread.events) == 1
        assert not await thread.session.is_unfinished()
    row = world.row()
    assert (row["status"], row["title"], row["turn_count"]) == ("idle", "Say hi.", 1)


async def test_every_thread_is_born_with_an_empty_root_checkpoint(worlds: Worlds) -> None:
    world = worlds("Hello.")
    async with world.open() as thread:
        state = await thread.session.graph.aget_state(thread.session.config)
        assert state.next == ()
        assert state.values.get("history", []) == []
    ((source, parent),) = await rows(
        world, "SELECT json_extract(metadata, '$.source'), parent_checkpoint_id FROM checkpoints"
    )
    assert (source, parent) == ("update", None)


async def test_exactly_as_many_model_calls_are_made_as_allowed(worlds: Worlds) -> None:
    world = worlds(*[calls(call("read", path=f"{n}.txt")) for n in range(9)], "Done.")
    async with world.open(max_iterations=3) as thread:
        end = await thread.take()
        assert end.name == "limit_reached"
        assert (end.data["kind"], end.data["limit"]) == ("iterations", 3)
        assert len(world.server.requests) == 3
        assert len(await thread.results()) == 3, "the calls of the last answer were carried out"
    assert world.row()["status"] == "limit"
    async with world.open(max_iterations=3) as thread:
        assert (await thread.go_on()).name == "limit_reached"
        assert len(world.server.requests) == 6, "going on counts afresh"
    async with world.open(max_iterations=-1) as thread:
        assert (await thread.go_on()).data["final_response"] == "Done."
    assert len(world.server.requests) == 10


async def test_an_answer_at_the_last_allowed_call_is_no_limit(worlds: Worlds) -> None:
    world = worlds(calls(bash("true")), "Done.")
    async with world.open(max_iterations=2) as thread:
        assert (await thread.take()).name == "turn_complete"


async def test_the_count_goes_on_across_approvals_and_processes(worlds: Worlds) -> None:
    world = worlds(*[calls(bash(f"rm -rf d{n}")) for n in range(5)], "Done.")
    async with world.open(approval_mode="ask", max_iterations=3) as thread:
        assert (await thread.take()).name == "approval_required"
        assert (await thread.answer(True)).name == "approval_required"
    async with world.open(approval_mode="ask", max_iterations=3) as thread:
        assert (await thread.answer(True)).name == "approval_required"
        assert (await thread.answer(True)).name == "limit_reached"
        assert len(world.server.requests) == 3


async def test_a_new_turn_counts_from_zero(worlds: Worlds) -> None:
    world = worlds(*[calls(bash("true")), "Done."] * 3)
    async with world.open(max_iterations=2) as thread:
        for _ in range(3):
            assert (await thread.take()).name == "turn_complete"


async def test_versions_are_integers_and_no_class_of_ours_is_in_a_checkpoint(worlds: Worlds) -> None:
    world = worlds(calls(bash("echo x"), call("read", path="no")), calls(bash("rm -rf d")), "Done.")
    async with world.open(approval_mode="ask") as thread:
        await thread.take()
        await thread.answer(True)
    serde = JsonPlusSerializer(allowed_msgpack_modules=[])
    checkpoints = await rows(world, "SELECT type, checkpoint FROM checkpoints")
    assert len(checkpoints) > 8
    for kind, blob in checkpoints:
        checkpoint = serde.loads_typed((kind, blob))
        assert all(isinstance(version, int) for version in checkpoint["channel_versions"].values())
        plain(checkpoint["channel_values"])
    for channel, kind, blob in await rows(world, "SELECT channel, type, value FROM writes"):
        if not channel.startswith("__"):
            plain(serde.loads_typed((kind, blob)))


def plain(value: Any) -> None:
    """Fails for anything but JSON data."""
    if isinstance(value, dict):
        for item in value.values():
            plain(item)
    elif isinstance(value, list | tuple):
        for item in value:
            plain(item)
    elif type(value).__name__ not in ("_DeltaSnapshot", "DeltaSnapshot", "Overwrite", "Send"):
        assert value is None or type(value) in (str, int, float, bool), type(value)


async def test_a_history_of_more_than_a_thousand_updates_is_whole_after_reopening(worlds: Worlds) -> None:
    world = worlds("Hello.", "Again.")
    length = SNAPSHOT_EVERY + 20

    async def add(state: AgentState) -> AgentUpdate:
        number = len(state.get("history", []))
        message = {"role": "user", "content": f"n{number}"}
        return {"history": [{"id": f"{number}", "at": "", "kind": "user", "message": message, "tokens": 1}]}

    async with world.open() as thread:
        many = StateGraph(AgentState)
        many.add_node("llm_call", add)
        many.add_edge(START, "llm_call")
        many.add_conditional_edges(
            "llm_call", lambda state: "llm_call" if len(state["history"]) < length else END
        )
        graph = many.compile(checkpointer=thread.session.saver)
        await graph.ainvoke({"stop": None}, thread.session.config, durability="sync")
    for asked in range(2):
        async with world.open() as thread:
            history = await thread.history()
            assert [entry["id"] for entry in history[:length]] == [f"{n}" for n in range(length)]
            assert len(history) == length + 2 * asked
            assert (await thread.take("Hello?")).name == "turn_complete"
    ((count,),) = await rows(world, "SELECT count(*) FROM checkpoints WHERE length(checkpoint) > 50000")
    assert 1 <= count <= 2, "the whole history is copied every thousand updates, not at each"


async def test_going_on_where_nothing_is_left_to_do_says_the_last_answer_again(worlds: Worlds) -> None:
    world = worlds("Hello.")
    async with world.open() as thread:
        await thread.take()
    async with world.open() as thread:
        end = await thread.go_on()
        assert (end.name, end.data["final_response"]) == ("turn_complete", "Hello.")
    assert len(world.server.requests) == 1


async def test_an_interrupt_keeps_finished_results_and_tells_the_truth_about_the_rest(worlds: Worlds) -> None:
    world = worlds(
        calls(
            call("read", "c-read", path="a.txt"),
            bash("echo one >> ran; echo finished", "c-done"),
            bash("echo two >> ran; sleep 60", "c-running"),
            bash("echo three >> ran", "c-waiting"),
        ),
        "I see.",
    )
    (world.work / "a.txt").write_text("alpha\n")
    async with world.open() as thread:
        ended = await interrupted(thread, "Go.", "tool_call", tool_call_id="c-running")
        assert ended == "interrupted"
        assert thread.events[-1].data == {"reason": "SIGINT"}
        by_call = {entry["call_id"]: entry for entry in await thread.history() if entry["kind"] == "result"}
        assert [entry.get("status") for entry in by_call.values()].count("cancelled") == 2
        assert "alpha" in by_call["c-read"]["message"]["content"]
        assert by_call["c-done"]["message"]["content"].startswith("finished")
        assert "part of its effect may have happened" in by_call["c-running"]["message"]["content"]
        assert "before this call of bash began" in by_call["c-waiting"]["message"]["content"]
    assert world.row()["status"] == "interrupted"
    async with world.open() as thread:
        assert (await thread.go_on()).data["final_response"] == "I see."
    ran = (world.work / "ran").read_text().split()
    assert ran in (["one"], ["one", "two"]), "nothing ran twice, and what had not begun never did"
    sent = [message["tool_call_id"] for message in world.messages() if message["role"] == "tool"]
    assert sent == ["c-read", "c-done", "c-running", "c-waiting"]


@pytest.mark.parametrize("command", ["echo finished", "echo finished | tee x"], ids=["reads", "writes"])
async def test_what_was_reported_as_finished_stays_finished(worlds: Worlds, command: str) -> None:
    world = worlds(calls(bash("sleep 60", "c1"), bash(command, "c2")), "I see.")
    if command != "echo finished":
        world = worlds(calls(bash(command, "c2"), bash("sleep 60", "c1")), "I see.")
    async with world.open() as thread:
        await interrupted(thread, "Go.", "tool_output", tool_call_id="c2")
        results = {entry["call_id"]: entry for entry in await thread.history() if entry["kind"] == "result"}
        assert results["c2"]["message"]["content"].startswith("finished")
        assert results["c1"]["status"] == "cancelled"
        reported = [data for data in thread.said("tool_output") if data["tool_call_id"] == "c2"]
        assert {data["entry_id"] for data in reported} == {results["c2"]["id"]}


async def test_a_new_request_after_an_interrupt_sees_what_happened(worlds: Worlds) -> None:
    world = worlds(calls(bash("echo done", "c-done"), bash("sleep 60", "c-long")), "Fine.")
    async with world.open() as thread:
        await interrupted(thread, "Go.", "tool_call", tool_call_id="c-long")
        assert (await thread.take("Never mind.")).data["final_response"] == "Fine."
    roles = [message["role"] for message in world.messages()]
    assert roles == ["system", "user", "assistant", "tool", "tool", "user"]


async def test_an_interrupt_while_the_model_speaks_leaves_no_half_answer(worlds: Worlds) -> None:
    world = worlds(Step("word " * 500, chunk_chars=5, chunk_delay_s=0.02), "Short.", mode="by_turns")
    async with world.open() as thread:
        assert await interrupted(thread, "Go.", "assistant_chunk") == "interrupted"
        assert [entry["kind"] for entry in await thread.history()] == ["user"]
        assert await thread.session.is_unfinished()
        assert thread.said("assistant_message") == []


async def test_the_thread_goes_on_after_an_interrupt_in_the_same_process(worlds: Worlds) -> None:
    world = worlds(calls(bash("sleep 60", "c1")), "Fine.", calls(bash("echo x", "c2")), "Good.")
    async with world.open() as thread:
        await interrupted(thread, "Go.", "tool_call", tool_call_id="c1")
        assert (await thread.go_on()).data["final_response"] == "Fine."
        assert (await thread.take("More.")).data["final_response"] == "Good."


async def test_what_a_crash_left_half_done_is_settled_before_a_new_request(worlds: Worlds) -> None:
    world = worlds(calls(bash("echo x >> ran", "c1"), bash("echo y >> ran", "c2")), "I looked.")
    async with world.open() as thread:
        context = thread.session.context
        digest = context.tools.parse("bash", '{"command": "echo x >> ran"}').digest
        await crash_before(thread, "tool_exec")
        await context.effects.start("c1", digest, "bash", "once", {})
    async with world.open() as thread:
        assert (await thread.take("What happened?")).name == "turn_complete"
        first, second = [entry for entry in await thread.history() if entry["kind"] == "result"]
        assert first["status"] == "unknown"
        assert "It was not run again" in first["message"]["content"]
        assert second["status"] == "abandoned"
        assert "has had no effect" in second["message"]["content"]
        assert "answering" not in second["message"]["content"], "nobody was asked"
    assert not (world.work / "ran").exists()


async def crash_before(thread: Opened, node: str) -> None:
    """Run a turn and leave it before a node, as a killed process does."""
    session = thread.session
    graph_input: Any = {
        "history": [
            {"id": "u1", "at": "", "kind": "user", "message": {"role": "user", "content": "Go."}, "tokens": 1}
        ],
        "turn": {"id": "t", "iterations": 0, "cut_count": 0, "plan_nudge_count": 0},
        "stop": None,
    }
    await session.graph.ainvoke(
        graph_input,
        session.config,
        context=session.context,
        durability="sync",
        interrupt_before=[node],
    )


@pytest.mark.parametrize("node", ["compact", "llm_call", "doom_check", "approval_interrupt", "tool_exec"])
async def test_a_turn_stopped_before_any_node_is_finished_or_settled(worlds: Worlds, node: str) -> None:
    world = worlds(calls(bash("echo x >> ran")), "Done.", mode="by_turns")
    async with world.open() as thread:
        await crash_before(thread, node)
        assert await thread.session.is_unfinished()
    async with world.open() as thread:
        assert (await thread.go_on()).data["final_response"] == "Done."
    assert (world.work / "ran").read_text() == "x\n"
    world = worlds(calls(bash("echo x >> ran")), "Done.", "Something else.", mode="by_turns")
    async with world.open() as thread:
        await crash_before(thread, node)
    async with world.open() as thread:
        assert (await thread.take("Something else!")).name == "turn_complete"
    assert not (world.work / "ran").exists() or node in ("compact", "llm_call")


async def test_a_thread_is_open_in_one_place_only(worlds: Worlds) -> None:
    world = worlds("Hello.")
    async with world.open():
        with pytest.raises(ThreadHeld, match=f"process {os.getpid()} on"):
            async with world.open():
                pass
    async with world.open() as thread:
        assert (await thread.take()).name == "turn_complete"


async def test_a_thread_that_cannot_be_opened_is_let_go_again(worlds: Worlds) -> None:
    world = worlds("Hello.")
    with pytest.raises(UserError, match="No thread 't1'"):
        async with world.open(create=False):
            pass
    async with world.open() as thread:
        assert (await thread.take()).name == "turn_complete"


async def test_two_threads_of_one_database_run_side_by_side(worlds: Worlds) -> None:
    steps = [calls(bash(f"echo {n} >> ran"), call("read", path=f"{n}")) for n in range(8)]
    world = worlds(*steps, "Done.", mode="by_turns")
    async with world.open("one") as first, world.open("two") as second:
        ends = await asyncio.gather(first.take(), second.take())
        assert [end.data["final_response"] for end in ends] == ["Done.", "Done."]
        assert len(await first.history()) == len(await second.history()) == 26
    assert len((world.work / "ran").read_text().split()) == 16
    assert {event["thread_id"] for event in world.stored(thread_id="one")} == {"one"}


async def test_only_the_person_can_read_what_is_stored(worlds: Worlds) -> None:
    world = worlds(calls(bash("seq 9000")), "Done.")
    async with world.open() as thread:
        await thread.take()
        files = [path for path in world.home.rglob("*") if path.is_file()]
        assert len(files) >= 5
        for path in files:
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    assert stat.S_IMODE(world.home.stat().st_mode) == 0o700


async def test_closing_leaves_no_write_ahead_log(worlds: Worlds) -> None:
    world = worlds(calls(bash("true")), "Done.")
    async with world.open() as thread:
        await thread.take()
    assert not list(world.home.glob("*-wal"))


async def test_steps_are_numbered_by_node_from_one_on(worlds: Worlds) -> None:
    world = worlds(calls(bash("echo x"), call("read", path="no")), "Done.")
    async with world.open() as thread:
        await thread.take()
    steps = world.steps()
    assert [row["step"] for row in steps] == list(range(1, len(steps) + 1))
    assert [row["node"] for row in steps] == [
        "compact", "llm_call", "doom_check", "approval_interrupt", "tool_exec", "compact", "llm_call",
    ]  # fmt: skip
    assert steps[4]["what"] == "bash: ok; read: failed"
    assert len({row["checkpoint_id"] for row in steps}) == len(steps)


async def test_a_step_tells_what_its_model_call_took(worlds: Worlds) -> None:
    usage = {"prompt_tokens": 900, "completion_tokens": 100}
    world = worlds(
        Step(tool_calls=[bash("true")], usage=usage), Step("Done.", no_usage=True), model_id="openai/gpt-x"
    )
    async with world.open(price_overrides={"openai/gpt-x": {"input": 1.0, "output": 1.0}}) as thread:
        await thread.take()
    steps = world.steps()
    assert [(row["tokens"], row["usd"]) for row in steps if row["node"] == "llm_call"] == [
        (1_000, pytest.approx(0.001)),
        (None, None),
    ]
    assert all(row["tokens"] is row["usd"] is None for row in steps if row["node"] != "llm_call")


async def test_a_settled_batch_is_one_step_with_every_result_once(worlds: Worlds) -> None:
    world = worlds(calls(bash("echo x > x", "c1"), bash("sleep 60", "c2")), "Done.")
    async with world.open() as thread:
        await interrupted(thread, "Go.", "tool_call", tool_call_id="c2")
    (step,) = [row for row in world.steps() if row["node"] == "tool_exec"]
    assert step["what"] == "bash: ok; bash: cancelled"


async def test_going_on_never_widens_the_mode_a_turn_was_begun_in(worlds: Worlds) -> None:
    world = worlds(calls(bash("sleep 60", "c1")), calls(bash("rm -r d", "c2")), "Done.")
    async with world.open(approval_mode="ask") as thread:
        await interrupted(thread, "Go.", "tool_call", tool_call_id="c1")
    async with world.open(approval_mode="auto") as thread:
        await thread.go_on()
        assert thread.said("approval_required")
    async with world.open(approval_mode="auto", mode_given=True) as thread:
        await thread.answer(True)
        assert thread.said("turn_complete")
