from __future__ import annotations

import asyncio
import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from langgraph.runtime import Runtime
from pydantic import Field

from ml_intern.nodes.tool_exec import tool_exec
from ml_intern.tests.bench.script import ToolCall
from ml_intern.tests.threads.world import bash, call, calls
from ml_intern.tools.base import Arguments, Tool, ToolContext, ToolResult
from ml_intern.tools.registry import ToolRouter, default_tools

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml_intern.graphs.state import Entry
    from ml_intern.tests.threads.world import Opened, World, Worlds


class Named(Arguments):
    """A tool of the tests."""

    name: str = Field(default="", description="Any text.")


def tool(name: str, run: Callable[[Named, ToolContext], Any], **more: Any) -> Tool[Named]:
    """A tool with one argument, which only reads unless `more` says otherwise."""
    return Tool(name, Named, run, **more)


def router(*more: Tool[Named]) -> ToolRouter:
    """The usual tools and some of the test's own."""
    return ToolRouter([*default_tools(), *more])


async def run_alone(thread: Opened, name: str, call_id: str, /, **given: Any) -> Entry:
    """Run one call as a resume does that finds it undone."""
    wanted = {"id": call_id, "type": "function", "function": {"name": name, "arguments": json.dumps(given)}}
    decision = {
        "call_id": call_id,
        "index": 0,
        "decision": "run",
        "reason": "",
        "effect": "once",
        "waits_for": [],
    }
    task: Any = {"call": wanted, "decision": decision}
    update = await tool_exec(task, Runtime(context=thread.session.context))
    await thread.session.journal.drain()
    (entry,) = update["history"]
    result: Entry = entry
    return result


def digest(thread: Opened, name: str, /, **given: Any) -> str:
    """The digest of a call, as the effects table knows it."""
    return thread.session.context.tools.parse(name, json.dumps(given)).digest


async def test_a_write_and_the_command_that_needs_it_never_race(worlds: Worlds) -> None:
    slow = "sleep 0.1; echo first >> order"
    world = worlds(
        calls(
            bash(slow),
            call("write", path="a.py", content="print(open('order').read().strip())"),
            bash("python a.py; echo third >> order"),
            call("read", path="order"),
        ),
        "Done.",
    )
    async with world.open() as thread:
        assert (await thread.take()).name == "turn_complete"
    _, _, ran, read = [message["content"] for message in world.messages() if message["role"] == "tool"]
    assert ran.startswith("first")
    assert "third" in read


async def test_calls_that_only_read_run_at_the_same_time(worlds: Worlds) -> None:
    met = asyncio.Barrier(3)

    async def meet(arguments: Named, context: ToolContext) -> str:
        await met.wait()
        return f"{arguments.name} met the others"

    world = worlds(calls(*(call("meet", name=name) for name in "abc")), "Done.")
    async with world.open() as thread:
        thread.change(tools=router(tool("meet", meet)))
        async with asyncio.timeout(20):
            await thread.take()
        assert sorted(await thread.results()) == [f"{name} met the others" for name in "abc"]


async def test_results_stand_in_call_order_whoever_ended_first(worlds: Worlds) -> None:
    last = asyncio.Event()

    async def in_turn(arguments: Named, context: ToolContext) -> str:
        if arguments.name == "last":
            last.set()
        else:
            await last.wait()
        return arguments.name

    world = worlds(calls(call("in_turn", name="first"), call("in_turn", name="last")), "Done.")
    async with world.open() as thread:
        thread.change(tools=router(tool("in_turn", in_turn)))
        await thread.take()
    assert [message["content"] for message in world.messages() if message["role"] == "tool"] == [
        "first",
        "last",
    ]


async def test_a_tool_that_raises_hangs_or_floods_harms_no_other_call(worlds: Worlds) -> None:
    async def explode(arguments: Named, context: ToolContext) -> str:
        raise RuntimeError("kaboom")

    async def hang(arguments: Named, context: ToolContext) -> str:
        await asyncio.Event().wait()
        return "never"

    async def flood(arguments: Named, context: ToolContext) -> str:
        return "x" * 5_000_000

    world = worlds(
        calls(
            call("explode"), call("hang"), call("flood"), bash("echo fine"), call("read", path="missing.txt")
        ),
        "Done.",
    )
    async with world.open() as thread:
        thread.change(
            tools=router(
                tool("explode", explode, effect="once"),
                tool("hang", hang, timeout_s=0.05),
                tool("flood", flood),
            )
        )
        assert (await thread.take()).name == "turn_complete"
    exploded, hung, flooded, fine, missing = [
        message["content"] for message in world.messages() if message["role"] == "tool"
    ]
    assert exploded == "explode failed: RuntimeError: kaboom"
    assert "timed out after 0.05 s" in hung
    assert len(flooded) < 30_000
    assert fine.startswith("fine")
    assert "missing.txt" in missing
    assert [data["success"] for data in thread.said("tool_output")].count(False) == 3


async def test_the_next_call_starts_even_when_the_one_before_could_not(worlds: Worlds) -> None:
    async def unsure(arguments: Named, context: ToolContext) -> dict[str, str]:
        raise OSError("the fingerprint cannot be taken")

    async def write(arguments: Named, context: ToolContext) -> str:
        return "written all the same"

    world = worlds(calls(call("fragile"), bash("echo after")), "Done.")
    async with world.open() as thread:
        thread.change(tools=router(tool("fragile", write, effect="idempotent", fingerprint=unsure)))
        assert (await thread.take()).name == "turn_complete"
        first, second = await thread.results()
        assert first == "written all the same"
        assert second.startswith("after")


async def test_a_call_whose_tool_is_gone_gets_a_result_that_says_so(worlds: Worlds) -> None:
    world = worlds("Hello.")
    async with world.open() as thread:
        entry = await run_alone(thread, "gone", "c1")
        assert entry["status"] == "malformed"
        assert "There is no tool 'gone'" in entry["message"]["content"]


async def test_a_call_that_finished_is_not_run_again(worlds: Worlds) -> None:
    world = worlds("Hello.")
    async with world.open() as thread:
        first = await run_alone(thread, "bash", "c1", command="echo ran >> ran; cat ran")
        assert first["ok"]
    async with world.open() as thread:
        again = await run_alone(thread, "bash", "c1", command="echo ran >> ran; cat ran")
        assert again["id"] == first["id"]
        assert again["message"]["content"] == first["message"]["content"]
        (data,) = thread.said("tool_output")
        assert data["attempt"] == 2
        assert data["entry_id"] == first["id"]
        assert thread.said("tool_call") == []
    assert (world.work / "ran").read_text() == "ran\n"


async def test_the_same_id_with_other_arguments_is_another_call(worlds: Worlds) -> None:
    world = worlds("Hello.")
    async with world.open() as thread:
        await run_alone(thread, "bash", "c1", command="echo one >> ran")
    async with world.open() as thread:
        await run_alone(thread, "bash", "c1", command="echo two >> ran")
    assert (world.work / "ran").read_text() == "one\ntwo\n"


async def test_what_a_crash_left_open_is_never_run_again_silently(worlds: Worlds) -> None:
    world = worlds("Hello.")
    given = {"command": "echo ran >> ran"}
    async with world.open() as thread:
        log = thread.session.context.effects
        await log.start("c1", digest(thread, "bash", **given), "bash", "once", {})
    async with world.open() as thread:
        entry = await run_alone(thread, "bash", "c1", **given)
        assert entry["status"] == "unknown"
        assert not entry["ok"]
        assert "unknown whether it took effect" in entry["message"]["content"]
    async with world.open() as thread:
        assert (await run_alone(thread, "bash", "c1", **given))["id"] == entry["id"]
    assert not (world.work / "ran").exists()


async def test_a_recovery_hook_finds_the_outcome_of_what_a_crash_left_open(worlds: Worlds) -> None:
    async def run(arguments: Named, context: ToolContext) -> str:
        raise AssertionError("it ran again")

    async def recover(
        arguments: Named, context: ToolContext, fingerprint: dict[str, str]
    ) -> ToolResult | None:
        return ToolResult(f"job {fingerprint['job']} is done") if arguments.name == "found" else None

    world = worlds("Hello.")
    for name, status, text in [
        ("found", None, "job 7 is done"),
        ("lost", "unknown", "The program was stopped while this call of job was running"),
    ]:
        jobs = router(tool("job", run, effect="once", recover=recover))
        async with world.open() as thread:
            thread.change(tools=jobs)
            log = thread.session.context.effects
            await log.start(name, digest(thread, "job", name=name), "job", "once", {"job": "7"})
        async with world.open() as thread:
            thread.change(tools=jobs)
            entry = await run_alone(thread, "job", name, name=name)
            assert entry.get("status") == status
            assert entry["message"]["content"].startswith(text)


@pytest.mark.parametrize("state", ["untouched", "done", "changed"])
async def test_a_write_runs_again_only_while_the_file_is_as_it_was(worlds: Worlds, state: str) -> None:
    world = worlds("Hello.")
    path = world.work / "a.txt"
    path.write_text("old\n")
    given = {"path": "a.txt", "content": "new\n"}
    async with world.open() as thread:
        context = thread.session.context
        parsed = context.tools.parse("write", json.dumps(given))
        tool_context = context.tool_context("c1", lambda _: None)
        tool_context.stamps[str(path)] = hashlib.sha256(b"old\n").hexdigest()
        assert parsed.tool.fingerprint is not None
        fingerprint = await parsed.tool.fingerprint(parsed.arguments, tool_context)
        await context.effects.start("c1", parsed.digest, "write", "idempotent", fingerprint)
    path.write_text({"untouched": "old\n", "done": "new\n", "changed": "somebody else's\n"}[state])
    async with world.open() as thread:
        stamps = thread.session.context.tool_context("c1", lambda _: None).stamps
        stamps[str(path)] = hashlib.sha256(b"old\n").hexdigest()
        entry = await run_alone(thread, "write", "c1", **given)
    if state == "changed":
        assert entry["status"] == "unknown"
        assert path.read_text() == "somebody else's\n"
    else:
        assert entry["ok"]
        assert path.read_text() == "new\n"
        assert entry["details"].get("recovered", False) == (state == "done")


async def test_every_effect_is_recorded_once_and_reading_is_not(worlds: Worlds) -> None:
    world = worlds(
        calls(
            bash("echo x > x"),
            bash("cat x"),
            call("read", path="x"),
            call("write", path="y", content="y"),
        ),
        "Done.",
    )
    async with world.open() as thread:
        await thread.take()
        rows = await thread.session.store.write(
            lambda connection: connection.exec_driver_sql(
                "SELECT tool, effect, state, entry_id, finished_at FROM effects ORDER BY started_at"
            ).fetchall()
        )
        entries = {entry["id"] for entry in await thread.history()}
    assert [tuple(row[:3]) for row in rows] == [
        ("bash", "once", "finished"),
        ("write", "idempotent", "finished"),
    ]
    assert all(row[3] in entries and row[4] for row in rows)


async def test_a_result_is_told_with_its_size_hash_and_a_head_of_2_kb(worlds: Worlds) -> None:
    world = worlds(calls(bash("printf 'é%.0s' {1..3000}; exit 3")), "Done.")
    async with world.open() as thread:
        await thread.take()
        (data,) = thread.said("tool_output")
        entry = next(entry for entry in await thread.history() if entry["kind"] == "result")
    assert len(data["output"]) == 2_048
    assert data["entry_id"] == entry["id"]
    raw = json.dumps(entry["message"]["content"]).encode()
    assert (data["bytes"], data["sha256"]) == (len(raw), hashlib.sha256(raw).hexdigest())
    assert data["exit_code"] == 3
    assert data["success"] is False


async def test_every_result_is_told_alike_and_only_a_call_that_starts_is_announced(worlds: Worlds) -> None:
    same = bash("rm -rf /", "denied"), ToolCall("write", "{broken", "malformed"), bash("echo ran", "ran")
    world = worlds(
        calls(*same),
        *[calls(bash("echo same")) for _ in range(4)],
        calls(bash("sleep 60", "stopped")),
        "Done.",
    )
    async with world.open() as thread:
        turn = asyncio.create_task(thread.take())
        await thread.until(lambda event: event.data.get("tool_call_id") == "stopped")
        thread.session.interrupt("SIGINT")
        await turn
        results = {entry["id"]: entry for entry in await thread.history() if entry["kind"] == "result"}
    statuses = {entry.get("status") for entry in results.values()}
    assert {"refused", "malformed", "loop", "cancelled", None} <= statuses
    told = thread.said("tool_output")
    assert {data["entry_id"] for data in told} == results.keys()
    for data in told:
        entry = results[data["entry_id"]]
        raw = json.dumps(entry["message"]["content"]).encode()
        assert (data["bytes"], data["sha256"]) == (len(raw), hashlib.sha256(raw).hexdigest())
        assert data["success"] is entry["ok"]
    started = {data["tool_call_id"] for data in thread.said("tool_call")}
    assert started == {
        entry["call_id"] for entry in results.values() if entry.get("status") in (None, "cancelled")
    }


async def test_a_call_that_is_given_up_after_a_crash_says_which_attempt_that_was(worlds: Worlds) -> None:
    world = worlds(calls(bash("sleep 60", "c1")), "Later.", mode="by_turns")
    async with world.open() as thread:
        turn = asyncio.create_task(thread.take())
        await thread.until(lambda event: event.name == "tool_call")
        turn.cancel()
        await asyncio.gather(turn, return_exceptions=True)
    async with world.open() as thread:
        await thread.take("Something else.")
        (told,) = thread.said("tool_output")
    assert (told["tool_call_id"], told["attempt"], "sha256" in told) == ("c1", 2, True)


async def test_live_output_carries_the_call_it_belongs_to(worlds: Worlds) -> None:
    world = worlds(calls(bash("for i in 1 2 3; do echo line $i; sleep 0.3; done")), "Done.")
    async with world.open() as thread:
        await thread.take()
    (started,) = thread.said("tool_call")
    logs = [data for data in thread.said("tool_log") if data["tool"] == "bash"]
    assert logs
    assert {data["tool_call_id"] for data in logs} == {started["tool_call_id"]}
    assert "line 1" in "".join(data["log"] for data in logs)


async def test_a_plan_is_announced(worlds: Worlds) -> None:
    todos = [{"id": "1", "content": "train", "status": "pending"}]
    world: World = worlds(calls(call("plan_tool", todos=todos)), "Done.")
    async with world.open(headless=False) as thread:
        await thread.take()
    assert thread.said("plan_update") == [{"plan": todos}]
