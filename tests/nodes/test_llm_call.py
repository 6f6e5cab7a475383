from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ml_intern.tests.bench.script import Step, ToolCall
from ml_intern.tests.threads.world import bash, call, calls

if TYPE_CHECKING:
    from ml_intern.tests.threads.world import Opened, World, Worlds

BOTH = pytest.mark.parametrize("model_id", ["vllm/scripted", "anthropic/claude-scripted"])
EMPTY = Step("")


async def turn(world: World, **settings: Any) -> Opened:
    """Run one turn and give the closed thread."""
    async with world.open(**settings) as thread:
        await thread.take()
    return thread


def cut(text: str = "", *wanted: ToolCall) -> Step:
    """An answer that ran into the output limit."""
    return Step(text, tool_calls=wanted, finish_reason="length")


@BOTH
async def test_the_pieces_of_an_answer_that_was_cut_make_one_answer(worlds: Worlds, model_id: str) -> None:
    world = worlds(cut("One, "), cut("two, "), "three.", model_id=model_id)
    thread = await turn(world)
    end = thread.events[-1]
    assert end.name == "turn_complete"
    assert end.data["final_response"] == "One, two, three."
    assert end.data["iterations"] == 3
    assert "Continue exactly where it ends" in str(world.messages()[-1])


@BOTH
async def test_calls_that_were_cut_are_not_run_and_the_model_is_told(worlds: Worlds, model_id: str) -> None:
    broken = ToolCall("write", '{"path": "a.txt", "content": "half')
    world = worlds(
        cut("I write it all.", call("write", path="b.txt", content="b"), broken), "Done.", model_id=model_id
    )
    thread = await turn(world)
    assert thread.events[-1].data["final_response"] == "Done."
    assert list(world.work.iterdir()) == []
    assert "tool_calls" not in str(world.messages())
    assert "tool_use" not in str(world.messages())
    assert "tool calls (write; write) were lost" in str(world.messages()[-1])
    assert [data["guard"] for data in thread.said("guard_fired")] == ["truncated_tools"]


async def test_an_answer_that_never_ends_is_given_as_far_as_it_came(worlds: Worlds) -> None:
    thread = await turn(worlds(*[cut("more ")] * 9))
    assert thread.events[-1].name == "turn_complete"
    assert thread.events[-1].data["final_response"] == "more " * 4
    assert thread.events[-1].data["iterations"] == 4


async def test_calls_that_are_cut_again_and_again_end_with_an_error_that_helps(worlds: Worlds) -> None:
    world = worlds(*[cut("", call("write", path="a.txt", content="x"))] * 9)
    thread = await turn(world)
    assert thread.events[-1].name == "error"
    assert "output limit 4 times in a row" in thread.events[-1].data["error"]
    assert "-m" in thread.events[-1].data["error"]
    assert len(world.server.requests) == 4


async def test_thinking_alone_that_hits_the_limit_counts_as_cut(worlds: Worlds) -> None:
    world = worlds(Step("", reasoning="hm " * 50, finish_reason="length"), "Done.")
    assert (await turn(world)).events[-1].data["final_response"] == "Done."


@BOTH
async def test_an_empty_answer_is_asked_for_again(worlds: Worlds, model_id: str) -> None:
    world = worlds(EMPTY, Step("  \n"), "Here.", model_id=model_id)
    thread = await turn(world)
    assert thread.events[-1].data["final_response"] == "Here."
    assert "reply was empty" in str(world.messages()[-1])


async def test_four_empty_answers_in_a_row_are_an_error_and_going_on_asks_again(worlds: Worlds) -> None:
    world = worlds(*[EMPTY] * 4, "Here.")
    async with world.open() as thread:
        end = await thread.take()
        assert end.name == "error"
        assert "4 empty answers in a row" in end.data["error"]
        assert len(world.server.requests) == 4
    async with world.open() as thread:
        assert (await thread.go_on()).data["final_response"] == "Here."


async def test_an_answer_in_between_starts_the_count_of_empty_ones_again(worlds: Worlds) -> None:
    world = worlds(*[EMPTY, EMPTY, EMPTY, calls(bash("true"))] * 2, "Here.")
    assert (await turn(world)).events[-1].data["final_response"] == "Here."


def plan(*statuses: str) -> Step:
    """The model writes a plan."""
    todos = [{"id": str(n), "content": f"item {n}", "status": status} for n, status in enumerate(statuses)]
    return calls(call("plan_tool", todos=todos))


async def test_headless_an_unfinished_plan_is_brought_up_twice_and_then_the_answer_stands(
    worlds: Worlds,
) -> None:
    world = worlds(plan("completed", "in_progress", "pending"), "Done?", "Really.", "Yes, done.")
    thread = await turn(world)
    assert thread.events[-1].data["final_response"] == "Yes, done."
    assert [data["guard"] for data in thread.said("guard_fired")] == ["plan", "plan"]
    nudge = str(world.messages(2)[-1])
    assert "item 1; item 2" in nudge
    assert "item 0" not in nudge


async def test_a_tool_call_starts_the_count_of_plan_notes_again(worlds: Worlds) -> None:
    steps = [plan("pending"), "Done?", "Done?", calls(bash("true")), "Done?", "Done?", "Done."]
    world = worlds(*steps)
    thread = await turn(world)
    assert thread.events[-1].data["final_response"] == "Done."
    assert len(thread.said("guard_fired")) == 4


async def test_a_finished_plan_or_a_person_who_reads_along_is_not_bothered(worlds: Worlds) -> None:
    thread = await turn(worlds(plan("completed"), "Done."))
    assert thread.said("guard_fired") == []
    thread = await turn(worlds(plan("pending"), "Which dataset?"), headless=False)
    assert thread.events[-1].data["final_response"] == "Which dataset?"
    assert thread.said("guard_fired") == []


@pytest.mark.parametrize("raw", ["{", "[]", '"x"', '{"path": "a.txt", "content": "half'])
async def test_arguments_that_are_no_json_object_never_reach_the_history(worlds: Worlds, raw: str) -> None:
    world = worlds(calls(ToolCall("write", raw), bash("echo fine")), "Done.")
    async with world.open() as thread:
        assert (await thread.take()).name == "turn_complete"
        answer = (await thread.history())[1]
        (broken, fine) = answer["message"]["tool_calls"]
        assert broken["function"]["arguments"] == "{}"
        assert answer["malformed"] == {broken["id"]: raw}
        assert fine["id"] not in answer["malformed"]
    bad, good = (message for message in world.messages() if message["role"] == "tool")
    assert "not valid JSON" in bad["content"]
    assert good["content"].startswith("fine")


async def test_no_arguments_at_all_are_an_empty_object(worlds: Worlds) -> None:
    world = worlds(calls(ToolCall("glob", ""), ToolCall("plan_tool", "null")), "Done.")
    async with world.open() as thread:
        assert (await thread.take()).name == "turn_complete"
        assert "malformed" not in (await thread.history())[1]
        assert "required" in (await thread.results())[0]


@BOTH
async def test_call_ids_that_a_server_uses_again_run_again(worlds: Worlds, model_id: str) -> None:
    same = calls(bash("echo x >> ran; wc -l < ran", "call_0"))
    world = worlds(same, same, "Done.", same, "Done.", model_id=model_id)
    async with world.open() as thread:
        await thread.take()
    async with world.open() as thread:
        await thread.take("Again.")
        answers = [entry for entry in await thread.history() if entry["kind"] == "assistant"]
        ids = [call["id"] for answer in answers for call in answer["message"].get("tool_calls") or []]
        assert len(set(ids)) == len(ids) == 3
        assert [text.split()[0] for text in await thread.results()] == ["1", "2", "3"]
        malformed = [answer.get("malformed") for answer in answers]
        assert malformed == [None] * len(answers)


async def test_a_used_id_of_a_broken_call_is_renamed_with_its_arguments(worlds: Worlds) -> None:
    world = worlds(calls(bash("true", "call_0")), calls(ToolCall("bash", "{", "call_0")), "Done.")
    async with world.open() as thread:
        assert (await thread.take()).name == "turn_complete"
        second = (await thread.history())[3]
        (renamed,) = second["message"]["tool_calls"]
        assert renamed["id"] != "call_0"
        assert second["malformed"] == {renamed["id"]: "{"}


async def test_an_id_that_compaction_forgot_is_still_not_taken_for_done(worlds: Worlds) -> None:
    same = calls(bash("echo x >> ran; wc -l < ran", "call_0"))
    world = worlds(same, *["word " * 2_000] * 6, same, "Done.")
    async with world.open(context_windows={"vllm/scripted": 12_000}) as thread:
        for n in range(6):
            await thread.take(f"Go {n}.")
        assert not any(entry.get("call_id") == "call_0" for entry in await thread.history())
    async with world.open() as thread:
        await thread.take("Again.")
        assert (await thread.results())[-1].split()[0] == "2"


async def test_tokens_and_cost_of_each_call_are_told_and_booked(worlds: Worlds) -> None:
    usage = {"prompt_tokens": 1_000, "completion_tokens": 100}
    world = worlds(Step("One.", usage=usage), Step("Two.", usage=usage), model_id="openai/gpt-x")
    prices = {"openai/gpt-x": {"input": 1.0, "output": 10.0}}
    async with world.open(price_overrides=prices) as thread:
        await thread.take()
        await thread.take()
        data = thread.said("llm_call")[-1]
        assert data["kind"] == "main"
        assert data["model"] == "openai/gpt-x"
        assert (data["prompt_tokens"], data["completion_tokens"], data["total_tokens"]) == (1_000, 100, 1_100)
        assert data["cost_usd"] == pytest.approx(0.002)
        assert thread.session.ledger.cost_usd == pytest.approx(0.004)
    row = world.row()
    assert row["total_tokens"] == 2_200
    assert row["cost_usd"] == pytest.approx(0.004)


async def test_text_of_a_stream_that_breaks_is_discarded_and_the_call_repeated(worlds: Worlds) -> None:
    broken = Step("Half an answer that breaks", cut_after_chunks=2, chunk_chars=5)
    world = worlds("A whole answer.", faults={0: [broken]})
    async with world.open() as thread:
        await thread.take()
        names = [event.name for event in thread.events]
        shown = names.index("assistant_chunk")
        discarded = names.index("assistant_discarded")
        again = names.index("assistant_chunk", discarded)
        assert shown < discarded < again < names.index("assistant_message")
        assert thread.said("assistant_message") == [{"content": "A whole answer."}]
        system = [data["log"] for data in thread.said("tool_log") if data["tool"] == "system"]
        assert any("attempt 1 of" in log for log in system)
        kinds = [entry["kind"] for entry in await thread.history()]
        assert kinds == ["user", "assistant"]


async def test_retries_do_not_count_as_iterations(worlds: Worlds) -> None:
    busy = Step(status=503)
    world = worlds(calls(bash("true")), "Done.", faults={0: [busy, busy], 1: [busy]})
    thread = await turn(world, max_iterations=2)
    assert thread.events[-1].name == "turn_complete"
    assert thread.events[-1].data["iterations"] == 2


async def test_a_model_that_cannot_be_called_ends_the_turn_and_going_on_asks_it_again(worlds: Worlds) -> None:
    world = worlds("Here I am.", faults={0: [Step(status=401)]})
    async with world.open() as thread:
        end = await thread.take("Where are you?")
        assert end.name == "error"
        assert await thread.session.is_unfinished()
    assert world.row()["status"] == "error"
    async with world.open() as thread:
        assert (await thread.go_on()).data["final_response"] == "Here I am."
    assert [message["content"] for message in world.messages()[1:]] == ["Where are you?"]


async def test_without_streaming_there_are_no_chunks(worlds: Worlds) -> None:
    world = worlds("A whole answer.")
    thread = await turn(world, stream=False)
    assert thread.said("assistant_chunk", "assistant_stream_end") == []
    assert thread.said("assistant_message") == [{"content": "A whole answer."}]
    assert world.server.requests[0].stream is False
