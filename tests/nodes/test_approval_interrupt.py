from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ml_intern.errors import UserError
from ml_intern.tests.bench.script import ToolCall
from ml_intern.tests.threads.world import bash, call, calls

if TYPE_CHECKING:
    from ml_intern.tests.threads.world import World, Worlds

RISKY = "mkdir -p build && rm -rf build && echo gone"
FORBIDDEN = "rm -rf /"


def results(world: World) -> list[str]:
    """Texts of the results in the last request, in its order."""
    return [message["content"] for message in world.messages() if message["role"] == "tool"]


async def test_ask_waits_and_runs_what_was_approved(worlds: Worlds) -> None:
    world = worlds(calls(bash(RISKY)), "Done.")
    async with world.open(approval_mode="ask") as thread:
        asked = await thread.take()
        assert asked.name == "approval_required"
        assert asked.data["count"] == 1
        (tool,) = asked.data["tools"]
        assert tool["tool"] == "bash"
        assert tool["arguments"]["command"] == RISKY
        assert "deletes a directory" in tool["reason"]
        assert thread.said("tool_call") == []
        assert world.row()["status"] == "waiting"
        end = await thread.answer(True)
        assert end.name == "turn_complete"
        assert thread.said("approval_answered")[0]["payload_hash"] == asked.data["payload_hash"]
        assert await thread.session.waiting() is None
    assert results(world)[0].startswith("gone")


async def test_auto_does_not_ask_and_deny_refuses_what_would_have_to_be_asked(worlds: Worlds) -> None:
    for mode, said in [("auto", "gone"), ("deny", "needs somebody's approval (it deletes a directory")]:
        world = worlds(calls(bash(RISKY)), "Done.")
        async with world.open(approval_mode=mode) as thread:
            assert (await thread.take()).name == "turn_complete"
        assert said in results(world)[0]


@pytest.mark.parametrize("mode", ["auto", "ask", "deny"])
async def test_a_deny_rule_holds_in_every_mode(worlds: Worlds, mode: str) -> None:
    world = worlds(calls(bash(FORBIDDEN)), calls(bash("echo own")), "Done.")
    policy = {"deny": [{"tool": "bash", "match": {"command": "^echo own"}, "reason": "my own rule"}]}
    async with world.open(approval_mode=mode, policy=policy) as thread:
        assert (await thread.take()).name == "turn_complete"
        assert [entry.get("status") for entry in await thread.history() if entry["kind"] == "result"] == [
            "refused",
            "refused",
        ]
    first, second = results(world)
    assert "a rule forbids it (it deletes the home directory or the whole file system)" in first
    assert "my own rule" in second


async def test_a_refusal_and_what_the_person_said_reach_the_model(worlds: Worlds) -> None:
    world = worlds(calls(bash(RISKY)), calls(bash(RISKY)), "Done.")
    async with world.open(approval_mode="ask") as thread:
        await thread.take()
        await thread.answer(False, feedback="Keep the Build directory!")
        assert (await thread.answer(False)).name == "turn_complete"
    first, second = results(world)
    assert "The user said: Keep the Build directory!" in first
    assert "The user refused this call of bash" in second
    assert not (world.work / "build").exists()


async def test_what_the_person_said_with_a_yes_reaches_the_model_once_after_the_results(
    worlds: Worlds,
) -> None:
    world = worlds(calls(bash("echo plain"), bash(RISKY), bash("rm -rf two && echo two")), "Done.")
    async with world.open(approval_mode="ask") as thread:
        await thread.take()
        assert (await thread.answer(True, True, feedback="Keep a copy next time!")).name == "turn_complete"
    assert [text.split()[0] for text in results(world)] == ["plain", "gone", "two"]
    (said,) = [text for m in world.messages() if "Keep a copy" in (text := str(m.get("content")))]
    assert "approved call 2 (bash); call 3 (bash), and said: Keep a copy next time!" in said
    assert world.messages()[-1]["content"] == said


async def test_an_answer_decides_on_each_call_alone_and_silence_is_no(worlds: Worlds) -> None:
    world = worlds(calls(bash("rm -r a"), bash("rm -r b"), bash("rm -r c")), "Done.")
    for name in "abc":
        (world.work / name).mkdir()
    async with world.open(approval_mode="ask") as thread:
        asked = await thread.take()
        first, second, _ = asked.data["tools"]
        decisions = {
            first["tool_call_id"]: {"approved": True},
            second["tool_call_id"]: {"approved": "yes"},
        }
        await thread.session.answer({"payload_hash": asked.data["payload_hash"], "decisions": decisions})
        assert thread.events[-1].name == "turn_complete"
    assert sorted(path.name for path in world.work.iterdir()) == ["b", "c"]


async def test_a_mixed_batch_asks_once_and_gives_every_result_in_call_order(worlds: Worlds) -> None:
    world = worlds(
        calls(
            bash(RISKY, "asked-1"),
            bash("echo plain", "allowed"),
            ToolCall("write", "{broken", "malformed"),
            bash(FORBIDDEN, "denied"),
            call("no_such_tool", "unknown"),
            call("read", "wrong", path=["not", "text"]),
            bash("rm -rf other && echo other", "asked-2"),
        ),
        "Done.",
    )
    async with world.open(approval_mode="ask") as thread:
        asked = await thread.take()
        assert [tool["tool_call_id"] for tool in asked.data["tools"]] == ["asked-1", "asked-2"]
        assert thread.said("tool_output") == [], "nothing of the batch runs before the answer"
        assert (await thread.answer(False, True)).name == "turn_complete"
        statuses = {
            entry["call_id"]: entry.get("status")
            for entry in await thread.history()
            if entry["kind"] == "result"
        }
    assert statuses == {
        "asked-1": "refused",
        "allowed": None,
        "malformed": "malformed",
        "denied": "refused",
        "unknown": "malformed",
        "wrong": "malformed",
        "asked-2": None,
    }
    said = results(world)
    assert "user refused" in said[0]
    assert said[1].startswith("plain")
    assert "not valid JSON" in said[2]
    assert "forbids" in said[3]
    assert "There is no tool 'no_such_tool'" in said[4]
    assert "path" in said[5]
    assert said[6].startswith("other")


async def test_the_hash_is_that_of_what_is_asked_and_nothing_else(worlds: Worlds) -> None:
    hashes = []
    for command in (RISKY, RISKY, f"{RISKY}; true"):
        world = worlds(calls(bash(command, "c1")), "Done.")
        async with world.open(approval_mode="ask") as thread:
            hashes.append((await thread.take()).data["payload_hash"])
    assert hashes[0] == hashes[1] != hashes[2]


async def test_a_waiting_question_survives_the_process_and_is_the_same(worlds: Worlds) -> None:
    world = worlds(calls(bash(RISKY)), "Done.")
    async with world.open(approval_mode="ask") as thread:
        asked = await thread.take()
    async with world.open(approval_mode="ask") as thread:
        waiting = await thread.session.waiting()
        assert waiting is not None
        assert waiting["payload"] == asked.data
        assert (await thread.answer(True)).name == "turn_complete"
    assert len(world.server.requests) == 2


@pytest.mark.parametrize("mode", ["auto", "deny"])
async def test_an_answer_counts_whatever_mode_the_later_run_has(worlds: Worlds, mode: str) -> None:
    world = worlds(calls(bash(RISKY), bash("rm -rf two")), "Done.")
    async with world.open(approval_mode="ask") as thread:
        await thread.take()
    async with world.open(approval_mode=mode) as thread:
        assert (await thread.answer(True, False)).name == "turn_complete"
    first, second = results(world)
    assert first.startswith("gone")
    assert "user refused" in second


@pytest.mark.parametrize("mode", ["auto", "deny", "ask"])
async def test_no_default_answers_what_was_asked_earlier(worlds: Worlds, mode: str) -> None:
    world = worlds(calls(bash(RISKY)), "Done.")
    async with world.open(approval_mode="ask") as thread:
        await thread.take()
    async with world.open(approval_mode=mode) as thread:
        end = await thread.go_on()
        assert end.name == "approval_required"
        assert thread.said("tool_call", "tool_output") == []
    assert len(world.server.requests) == 1


async def test_a_new_request_gives_up_the_waiting_batch_and_says_so(worlds: Worlds) -> None:
    world = worlds(calls(bash(RISKY), bash("echo never")), "Something else, then.", "Later.")
    async with world.open(approval_mode="ask") as thread:
        await thread.take("Clean up.")
        end = await thread.take("Stop, do something else.")
        assert end.data["final_response"] == "Something else, then."
        assert await thread.session.waiting() is None
        assert [entry.get("status") for entry in await thread.history() if entry["kind"] == "result"] == [
            "abandoned",
            "abandoned",
        ]
    assert all("It was not run" in text for text in results(world))
    asked, beside = results(world)
    assert "went on with a new message" in asked
    assert "answering" not in beside, "nobody was asked about that one"
    async with world.open(approval_mode="auto") as thread:
        assert await thread.session.waiting() is None
        assert (await thread.take("And now?")).data["final_response"] == "Later."


async def test_an_answer_to_another_question_runs_nothing(worlds: Worlds) -> None:
    world = worlds(calls(bash(RISKY, "c1")), calls(bash("rm -rf other", "c2")), "Done.")
    async with world.open(approval_mode="ask") as thread:
        first = (await thread.take()).data
        second = (await thread.answer(True)).data
        assert second["payload_hash"] != first["payload_hash"]
        stale = {"payload_hash": first["payload_hash"], "decisions": {"c2": {"approved": True}}}
        with pytest.raises(UserError, match="answers another question"):
            await thread.session.answer(stale)
        assert not any(data["tool_call_id"] == "c2" for data in thread.said("tool_call"))
        assert (await thread.answer(True)).name == "turn_complete"


async def test_rules_that_change_before_the_answer_run_nothing_unseen(worlds: Worlds) -> None:
    world = worlds(calls(bash(RISKY, "c1"), bash("touch new-file", "c2")), "Done.")
    async with world.open(approval_mode="ask") as thread:
        await thread.take()
    policy = {"ask": [{"tool": "bash", "match": {"command": "touch"}, "reason": "a new rule"}]}
    async with world.open(approval_mode="ask", policy=policy) as thread:
        assert (await thread.answer(True)).name == "turn_complete"
    assert not (world.work / "new-file").exists()
    assert all("no longer what was asked" in text for text in results(world))


async def test_reading_is_asked_about_too_where_a_rule_says_so(worlds: Worlds) -> None:
    world = worlds(calls(call("read", path=".env"), call("read", path="a.txt")), "Done.")
    (world.work / ".env").write_text("TOKEN=1\n")
    (world.work / "a.txt").write_text("alpha\n")
    async with world.open(approval_mode="ask") as thread:
        asked = await thread.take()
        assert [tool["arguments"]["path"] for tool in asked.data["tools"]] == [".env"]
        await thread.answer(False)
    assert "alpha" in results(world)[1]
    assert "TOKEN" not in results(world)[0]
