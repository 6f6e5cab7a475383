from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ml_intern.tests.bench.script import ToolCall
from ml_intern.tests.threads.world import bash, call, calls

if TYPE_CHECKING:
    from ml_intern.tests.threads.world import Opened, World, Worlds

SAME = "echo same"
POLL = "echo x >> polls; wc -l < polls"
NOTE = "[note from ml-intern, not from the user]"


def fired(thread: Opened, guard: str = "repetition") -> list[str]:
    """What the guard did, in order."""
    return [data["action"] for data in thread.said("guard_fired") if data["guard"] == guard]


def ran(world: World) -> list[str]:
    """Lines that commands left in `ran`."""
    path = world.work / "ran"
    return path.read_text().split() if path.exists() else []


def mark(name: str) -> ToolCall:
    """A command that leaves its name in `ran` and always prints the same."""
    return bash(f"echo {name} >> ran; echo done")


async def turn(world: World, **settings: Any) -> Opened:
    """Run one turn and give the closed thread."""
    async with world.open(**settings) as thread:
        await thread.take()
    return thread


async def test_two_equal_calls_are_no_loop_and_the_third_gets_a_note_and_runs(worlds: Worlds) -> None:
    world = worlds(*[calls(mark("a"))] * 2, "Done.")
    assert fired(await turn(world)) == []
    world = worlds(*[calls(mark("a"))] * 3, "Done.")
    thread = await turn(world)
    assert fired(thread) == ["note"]
    assert ran(world) == ["a"] * 3
    *_, last_result, note = world.messages()
    assert last_result["role"] == "tool"
    assert last_result["content"].startswith("done")
    assert note["role"] == "user"
    assert note["content"].startswith(NOTE)
    assert "3 times" in note["content"]
    assert thread.events[-1].name == "turn_complete"


async def test_after_the_note_the_same_call_is_refused_with_its_last_result(worlds: Worlds) -> None:
    world = worlds(*[calls(mark("a"))] * 4, "Done.")
    thread = await turn(world)
    assert fired(thread) == ["note", "refuse"]
    assert ran(world) == ["a"] * 3
    result = world.messages()[-2]
    assert result["role"] == "tool"
    assert "was not run" in result["content"]
    assert "done" in result["content"]
    assert [data["success"] for data in thread.said("tool_output")] == [True] * 3 + [False]


async def test_a_model_that_never_stops_repeating_ends_the_turn_as_a_limit(worlds: Worlds) -> None:
    world = worlds(*[calls(mark("a"))] * 20)
    async with world.open() as thread:
        end = await thread.take()
        assert end.name == "limit_reached"
        assert end.data["kind"] == "repetition"
        assert fired(thread) == ["note"] + ["refuse"] * 5
        assert ran(world) == ["a"] * 3
        assert len(world.server.requests) == 8
        assert (await thread.go_on()).data["kind"] == "repetition", "the model did not change"
    assert ran(world) == ["a"] * 4, "who says go on lets it try once more"


async def test_a_poll_whose_answer_changes_is_no_loop_and_one_that_is_stuck_is(worlds: Worlds) -> None:
    world = worlds(*[calls(bash(POLL))] * 6, "Done.")
    assert fired(await turn(world)) == []
    world = worlds(*[calls(bash(POLL))] * 2, *[calls(bash(SAME))] * 3, "Done.")
    assert fired(await turn(world)) == ["note"]


async def test_three_equal_calls_in_one_answer_are_no_loop(worlds: Worlds) -> None:
    world = worlds(calls(mark("a"), mark("a"), mark("a")), "Done.")
    assert fired(await turn(world)) == []
    assert ran(world) == ["a"] * 3


async def test_only_the_tail_counts(worlds: Worlds) -> None:
    other = [calls(mark(f"other{n}")) for n in range(4)]
    world = worlds(*[calls(mark("a"))] * 3, *other, calls(mark("a")), calls(mark("a")), "Done.")
    thread = await turn(world)
    assert fired(thread) == ["note"], "it fired again although the strategy had changed"
    assert ran(world)[-1] == "a"


async def test_back_at_the_same_call_the_note_comes_before_any_refusal_again(worlds: Worlds) -> None:
    world = worlds(*[calls(mark("a"))] * 3, calls(mark("b")), *[calls(mark("a"))] * 4, "Done.")
    thread = await turn(world)
    assert fired(thread) == ["note", "note", "refuse"]


async def test_a_new_request_begins_anew(worlds: Worlds) -> None:
    world = worlds(*[calls(mark("a"))] * 2, "Done.", *[calls(mark("a"))] * 2, "Done.")
    async with world.open() as thread:
        await thread.take("Once.")
        await thread.take("Again.")
        assert fired(thread) == []


@pytest.mark.parametrize("length", [2, 3, 4, 5])
async def test_a_cycle_gets_a_note_when_it_begins_the_third_time_and_is_refused_after(
    worlds: Worlds, length: int
) -> None:
    cycle = [calls(mark(f"m{n}")) for n in range(length)]
    world = worlds(*cycle * 2, *(cycle * 2)[:3], "Done.")
    thread = await turn(world)
    assert fired(thread) == ["note", "refuse", "refuse"]
    assert ran(world) == [*(f"m{n}" for n in range(length)), *(f"m{n}" for n in range(length)), "m0"]
    assert thread.events[-1].name == "turn_complete"


async def test_a_cycle_of_six_or_one_with_changing_results_is_none(worlds: Worlds) -> None:
    six = [calls(mark(f"m{n}")) for n in range(6)]
    assert fired(await turn(worlds(*six * 2, "Done."))) == []
    changing = [calls(bash(POLL)), calls(mark("b"))]
    assert fired(await turn(worlds(*changing * 3, "Done."))) == []


async def test_order_of_keys_white_space_and_the_description_make_no_other_call(worlds: Worlds) -> None:
    same = [
        ToolCall("bash", '{"command": "echo  done", "description": "first", "timeout": 5}'),
        ToolCall("bash", '{"timeout":5,"command":"echo done"}'),
        ToolCall("bash", '{ "command": "echo\\tdone", "timeout": 5, "description": "third" }'),
    ]
    assert fired(await turn(worlds(*(calls(one) for one in same), "Done."))) == ["note"]


async def test_other_arguments_are_another_call(worlds: Worlds) -> None:
    lines = [calls(call("read", path="a.txt", offset=n)) for n in (1, 2, 3)]
    world = worlds(*lines, "Done.")
    (world.work / "a.txt").write_text("x\nx\nx\n")
    assert fired(await turn(world)) == []


async def test_a_batch_in_another_order_is_the_same_batch(worlds: Worlds) -> None:
    batches = [calls(mark("a"), mark("b")), calls(mark("b"), mark("a")), calls(mark("a"), mark("b"))]
    thread = await turn(worlds(*batches, "Done."))
    assert fired(thread) == ["note"]


async def test_every_call_of_a_refused_batch_gets_its_own_last_result(worlds: Worlds) -> None:
    batch = calls(bash("echo first"), bash("echo second"))
    world = worlds(*[batch] * 4, "Done.")
    await turn(world)
    first, second = [message for message in world.messages() if message["role"] == "tool"][-2:]
    assert first["content"].strip().splitlines()[-1].startswith("first")
    assert "second" not in first["content"]
    assert "second" in second["content"]


async def test_what_is_refused_is_not_asked_about(worlds: Worlds) -> None:
    dangerous = calls(bash("rm -rf build; echo gone"))
    world = worlds(*[dangerous] * 4, "Done.")
    async with world.open(approval_mode="ask") as thread:
        await thread.take()
        for _ in range(3):
            await thread.answer(True)
        assert thread.events[-1].name == "turn_complete"
        assert fired(thread) == ["note", "refuse"]
        assert len(thread.said("approval_required")) == 3


async def test_two_broken_calls_of_one_tool_in_a_row_get_a_note_that_counts_them(worlds: Worlds) -> None:
    broken = calls(ToolCall("write", '{"path": "a.txt", "content": "never en'))
    world = worlds(broken, broken, broken, "Done.")
    thread = await turn(world)
    assert fired(thread, "malformed") == ["note", "note"]
    notes = [str(message) for message in world.messages() if NOTE in str(message)]
    assert "last 2 calls of write" in notes[0]
    assert any("last 3 calls of write" in note for note in notes[1:])


@pytest.mark.parametrize(
    "between",
    [mark("fine"), ToolCall("write", {"path": "b.txt", "content": "x"}), ToolCall("edit", "{")],
    ids=["another tool", "the same tool, well", "another tool, also broken"],
)
async def test_anything_else_in_between_breaks_the_streak(worlds: Worlds, between: ToolCall) -> None:
    broken = calls(ToolCall("write", "{"))
    thread = await turn(worlds(broken, calls(between), broken, "Done."))
    assert fired(thread, "malformed") == []
