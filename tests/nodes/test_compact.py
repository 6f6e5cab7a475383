from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ml_intern.tests.bench.script import Step, Track
from ml_intern.tests.threads.world import bash, call, calls

if TYPE_CHECKING:
    from ml_intern.tests.bench.script import Json
    from ml_intern.tests.threads.world import World, Worlds

FIRST = "Find the best learning rate, and write down why. The magic word is xyzzy."


def noisy(n: int, characters: int = 4_000) -> Step:
    """A call whose result has about so many characters."""
    return calls(call("read", path="loss.log", offset=n * 7 + 1, limit=characters // 40))


def busy(iterations: int, characters: int = 4_000) -> list[Any]:
    """So many calls with results of that size, then the answer."""
    return [*(noisy(n, characters) for n in range(iterations)), "Done: 3e-4."]


def fill(world: World) -> None:
    """Write the file that the calls read: lines of 40 characters."""
    lines = (f"step {n:05} loss 0.12345678 lr 3e-4 ok\n" for n in range(6_000))
    (world.work / "loss.log").write_text("".join(lines))


def summariser(*steps: Any) -> Track:
    """What the model says when it is asked for a summary."""
    return Track(list(steps), contains="about to be replaced by your summary", after_end="last")


def served(world: World) -> list[Json]:
    """Bodies of the requests of the main loop that the model answered."""
    return [
        record.body
        for record in world.server.requests
        if record.status == 200 and record.body and record.body.get("tools")
    ]


def refused(world: World) -> int:
    """How many requests were too long for the model."""
    return sum(record.status == 400 for record in world.server.requests)


def asked(body: Json) -> list[str]:
    """Texts of the user messages of a request."""
    texts = []
    for message in body["messages"]:
        content = message.get("content")
        if message["role"] == "user":
            blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
            texts += [block["text"] for block in blocks if block["type"] == "text"]
    return texts


@pytest.mark.parametrize(
    ("model_id", "wording", "iterations", "characters"),
    [
        ("vllm/scripted", "vllm", 120, 4_000),
        ("openai/gpt-x", "openai", 40, 12_000),
        ("anthropic/claude-scripted", "openai", 40, 12_000),
    ],
)
async def test_a_long_run_of_one_prompt_finishes_in_a_window_of_32k_that_the_server_enforces(
    worlds: Worlds, model_id: str, wording: str, iterations: int, characters: int
) -> None:
    world = worlds(
        *busy(iterations, characters),
        model_id=model_id,
        context_tokens=32_000,
        overflow_wording=wording,
        tracks=[summariser("## Goal\nA learning rate.")],
    )
    fill(world)
    async with world.open() as thread:
        end = await thread.take(FIRST)
        assert end.name == "turn_complete", end.data
        assert end.data["final_response"] == "Done: 3e-4."
        assert end.data["iterations"] == iterations + 1
    assert FIRST in asked(served(world)[-1])
    assert 1 <= refused(world) <= 3, "the window is learned from the first refusal"
    assert thread.said("compacted")
    assert all(sizes["new_tokens"] < sizes["old_tokens"] for sizes in thread.said("compacted"))


def chat(*sizes: int) -> list[Any]:
    """One answer of each size in characters."""
    return [f"answer {number} " + "word " * (size // 5) for number, size in enumerate(sizes)]


def cuts(world: World) -> list[str]:
    """Contents of the summary requests."""
    return [
        str(record.body["messages"])
        for record in world.server.requests
        if record.body and not record.body.get("tools")
    ]


async def test_compaction_begins_at_nine_tenths_of_a_known_window_or_at_170_000_tokens(
    worlds: Worlds,
) -> None:
    for tokens, windows, compacted in [
        (89_000, {"vllm/scripted": 100_000}, False),
        (90_000, {"vllm/scripted": 100_000}, True),
        (169_000, {}, False),
        (170_000, {}, True),
        (170_000, {"vllm/scripted": 1_000_000}, True),
    ]:
        used = Step("first", usage={"prompt_tokens": tokens, "completion_tokens": 0})
        world = worlds(
            calls(*(bash(f"seq {n} 9000") for n in range(6))),
            used,
            "second",
            tracks=[summariser("A summary.")],
        )
        async with world.open(context_windows=windows) as thread:
            await thread.take("One.")
            assert thread.said("compacted") == []
            await thread.take("Two.")
            assert bool(thread.said("compacted")) == compacted, (tokens, windows)
            assert thread.events[-1].name == "turn_complete"


async def test_results_become_stubs_before_anything_is_summarised(worlds: Worlds) -> None:
    world = worlds(*busy(30, 12_000), context_tokens=32_000, tracks=[summariser("A summary.")])
    fill(world)
    async with world.open(context_windows={"vllm/scripted": 32_000}) as thread:
        assert (await thread.take(FIRST)).name == "turn_complete"
        kinds = [entry["kind"] for entry in await thread.history()]
        assert "summary" not in kinds
        assert any("removed to save room" in text for text in await thread.results())
    assert refused(world) == 0
    assert cuts(world) == []


async def test_what_cannot_be_stubbed_is_summarised_and_all_user_messages_stay(worlds: Worlds) -> None:
    prompts = [f"Request number {n}: {'please ' * 20}" for n in range(40)]
    world = worlds(*chat(*[4_000] * 40), context_tokens=16_000, tracks=[summariser("The gist of it.")])
    async with world.open(context_windows={"vllm/scripted": 16_000}) as thread:
        for prompt in prompts:
            assert (await thread.take(prompt)).name == "turn_complete"
        history = await thread.history()
        assert [entry["message"]["content"] for entry in history if entry["kind"] == "user"] == prompts
        assert sum(entry["kind"] == "summary" for entry in history) == 1
    assert [text for text in asked(served(world)[-1]) if text.startswith("Request")] == prompts
    assert any("The gist of it." in text for text in asked(served(world)[-1]))
    assert refused(world) == 0
    assert "Request number 1:" in cuts(world)[0], "the summary is made with the requests in sight"
    assert len(cuts(world)) > 1
    assert "The gist of it." in cuts(world)[-1], "the next summary is made from the last one"


@pytest.mark.parametrize(
    "bad",
    [
        Step("   "),
        Step(status=400, error="I cannot do that."),
        Step(status=400, error="This model's maximum context length is 900 tokens."),
        Step(tool_calls=[bash("echo not now")]),
    ],
    ids=["empty", "refused", "too long", "a tool call"],
)
async def test_without_a_summary_from_the_model_the_calls_are_listed(worlds: Worlds, bad: Step) -> None:
    steps = [calls(bash(f"echo mark-{n}; true {'x' * 120}"), text="thinking " * 300) for n in range(20)]
    world = worlds(*steps, "Done.", context_tokens=16_000, tracks=[summariser(bad)])
    async with world.open(context_windows={"vllm/scripted": 16_000}) as thread:
        end = await thread.take(FIRST)
        assert end.name == "turn_complete", end.data
        summary = next(entry for entry in await thread.history() if entry["kind"] == "summary")
        assert "called bash" in summary["message"]["content"]
        assert "-> mark-1" in summary["message"]["content"]
    assert FIRST in asked(served(world)[-1])


async def test_the_plan_and_what_is_known_of_files_survive_a_summary(worlds: Worlds) -> None:
    todos = [{"id": "1", "content": "train", "status": "completed"}]
    world = worlds(
        calls(call("plan_tool", todos=todos), call("read", path="a.txt")),
        *chat(*[6_000] * 8),
        calls(call("edit", path="a.txt", old_str="alpha", new_str="beta")),
        "Edited.",
        tracks=[summariser("The gist.")],
    )
    (world.work / "a.txt").write_text("alpha\n")
    async with world.open(context_windows={"vllm/scripted": 14_000}) as thread:
        for n in range(9):
            await thread.take(f"Go on {n}.")
        assert not any(
            message.get("tool_calls") and "plan_tool" in str(message) for message in world.messages(-2)
        ), "the call that wrote the plan is gone from what the model sees"
        summary = next(entry for entry in await thread.history() if entry["kind"] == "summary")
        assert summary["details"]["plan"] == todos
    async with world.open(context_windows={"vllm/scripted": 14_000}) as thread:
        assert thread.session.context.tool_context("x", print).stamps
    assert (world.work / "a.txt").read_text() == "beta\n"


async def test_a_huge_first_request_is_cut_only_when_nothing_else_is_left(worlds: Worlds) -> None:
    huge = f"{FIRST} {'data ' * 20_000} The last word is plugh."
    world = worlds(*busy(3), context_tokens=16_000, tracks=[summariser("The gist.")])
    fill(world)
    async with world.open() as thread:
        end = await thread.take(huge)
        assert end.name == "turn_complete", end.data
    (first, *_) = asked(served(world)[0])
    assert first.startswith(FIRST)
    assert first.endswith("The last word is plugh.")
    assert len(first) < len(huge)


async def test_a_request_that_nothing_can_shrink_ends_with_an_error_after_few_refusals(
    worlds: Worlds,
) -> None:
    world = worlds("never said", context_tokens=300)
    async with world.open() as thread:
        end = await thread.take("Hello")
        assert end.name == "error"
        assert "window" in end.data["error"]
        assert refused(world) == 1
        assert thread.said("compacted") == []
    async with world.open() as thread:
        assert (await thread.go_on()).name == "error"
        assert refused(world) == 2


async def test_refusals_that_name_no_limit_are_bounded_too(worlds: Worlds) -> None:
    refusal = Step(status=400, error="Your input is too long for this model.")
    world = worlds(*busy(12), faults={12: [refusal] * 20}, tracks=[summariser("The gist.")])
    fill(world)
    async with world.open() as thread:
        end = await thread.take(FIRST)
        assert end.name == "error"
        assert 2 <= refused(world) <= 8
        assert len(thread.said("compacted")) < refused(world)


async def test_a_learned_window_is_kept_for_the_next_turn_but_not_for_another_model(worlds: Worlds) -> None:
    world = worlds(*busy(30), *busy(10), *busy(20), context_tokens=24_000, overflow_wording="vllm")
    fill(world)
    async with world.open() as thread:
        assert (await thread.take(FIRST)).name == "turn_complete"
        once = refused(world)
        assert once >= 1
    async with world.open() as thread:
        assert (await thread.take("Again.")).name == "turn_complete"
        assert refused(world) == once
        assert (await thread.session.state())["window"]["limit_tokens"] == 24_000
    async with world.open(model_id="openai/gpt-large") as thread:
        assert (await thread.take("Once more.")).name == "turn_complete"
        assert refused(world) > once, "the other model's window had to be learned anew"


async def test_compacting_by_hand_says_what_it_did_even_when_there_was_nothing_to_do(worlds: Worlds) -> None:
    world = worlds(*busy(6), "Yes.", tracks=[summariser("The gist.")])
    fill(world)
    async with world.open() as thread:
        await thread.session.compact()
        assert thread.said("compacted") == [{"old_tokens": 0, "new_tokens": 0}]
        await thread.take(FIRST)
        await thread.session.compact()
        sizes = thread.said("compacted")[-1]
        assert sizes["new_tokens"] <= sizes["old_tokens"] // 2
        assert not await thread.session.is_unfinished()
        assert (await thread.take("Still there?")).data["final_response"] == "Yes."
    assert FIRST in asked(served(world)[-1])
