from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ml_intern.tests.bench.script import Step, Track
from ml_intern.tests.threads.world import bash
from ml_intern.threads import listing
from ml_intern.threads.opening import open_store

if TYPE_CHECKING:
    from ml_intern.tests.threads.world import World, Worlds

USAGE = {"prompt_tokens": 1_000_000, "completion_tokens": 0}
PRICED: dict[str, Any] = {
    "model_id": "openai/gpt-x",
    "price_overrides": {"openai/gpt-x": {"input": 1.0, "output": 1.0}},
    "context_windows": {"openai/gpt-x": 100_000_000},
    "compact_at_tokens": 100_000_000,
}
"""Each call costs a dollar."""


def dear(iterations: int) -> list[Step]:
    """So many calls of a dollar, then an answer of a dollar."""
    steps = [Step(tool_calls=[bash(f"echo {n} >> ran")], usage=USAGE) for n in range(iterations)]
    return [*steps, Step("Done.", usage=USAGE)]


def spent(world: World) -> list[tuple[str, float | None]]:
    store = open_store(world.home)
    rows = store.write_now(
        lambda connection: connection.exec_driver_sql(
            "SELECT kind, actual_usd FROM spend ORDER BY id"
        ).fetchall()
    )
    store.close()
    return [(row[0], row[1]) for row in rows]


async def test_the_cap_ends_the_turn_after_the_answer_that_was_paid_for(worlds: Worlds) -> None:
    world = worlds(*dear(5))
    async with world.open(max_cost=2.5, **PRICED) as thread:
        end = await thread.take()
        assert end.name == "limit_reached"
        assert (end.data["kind"], end.data["limit"]) == ("cost", 2.5)
        assert "--max-cost" in end.data["message"]
        assert len(world.server.requests) == 3
        assert len(await thread.results()) == 3
    assert (world.work / "ran").read_text() == "0\n1\n2\n"
    assert world.row()["status"] == "limit"
    assert world.row()["cost_usd"] == pytest.approx(3.0)
    assert [kind for kind, _ in spent(world)] == ["model"] * 3
    assert [amount for _, amount in spent(world)] == [pytest.approx(1.0)] * 3


async def test_the_cap_holds_over_processes_and_a_higher_one_goes_on(worlds: Worlds) -> None:
    world = worlds(*dear(5))
    async with world.open(max_cost=2.5, **PRICED) as thread:
        await thread.take()
    async with world.open(**PRICED) as thread:
        assert thread.session.ledger.max_cost_usd == 2.5, "the cap belongs to the thread"
        assert (await thread.go_on()).data["kind"] == "cost"
        assert (await thread.take("More!")).data["kind"] == "cost"
        assert len(world.server.requests) == 3, "nothing more was bought"
    async with world.open(max_cost=10, **PRICED) as thread:
        assert (await thread.go_on()).data["final_response"] == "Done."
    assert world.row()["cost_usd"] == pytest.approx(6.0)


async def test_a_final_answer_that_reaches_the_cap_is_an_answer(worlds: Worlds) -> None:
    world = worlds(*dear(1))
    async with world.open(max_cost=2, **PRICED) as thread:
        assert (await thread.take()).data["final_response"] == "Done."


async def test_what_nobody_can_price_is_counted_as_unknown_and_not_as_free(worlds: Worlds) -> None:
    world = worlds(Step(tool_calls=[bash("true")], no_usage=True), Step("Done.", usage=USAGE))
    async with world.open(**PRICED) as thread:
        await thread.take()
        assert [data["cost_usd"] for data in thread.said("llm_call")] == [None, pytest.approx(1.0)]
        assert thread.session.ledger.unpriced_calls == 1
    assert world.row()["unpriced_calls"] == 1
    assert [amount for _, amount in spent(world)] == [None, pytest.approx(1.0)]
    async with world.open(**PRICED) as thread:
        assert thread.session.ledger.unpriced_calls == 1
        assert thread.session.ledger.run_unpriced_calls == 0


async def test_a_model_on_this_machine_costs_nothing(worlds: Worlds) -> None:
    world = worlds("Done.")
    async with world.open(max_cost=0.5) as thread:
        assert (await thread.take()).name == "turn_complete"
    assert spent(world) == [("model", 0.0)]


async def test_a_cap_of_nothing_lets_a_free_model_work_and_no_other(worlds: Worlds) -> None:
    free = worlds(Step(tool_calls=[bash("true")], usage=USAGE), "Done.")
    async with free.open(max_cost=0) as thread:
        assert (await thread.take()).data.get("final_response") == "Done."
    dear_one = worlds(*dear(1))
    async with dear_one.open(max_cost=0, **PRICED) as thread:
        end = await thread.take()
        assert (end.name, end.data["kind"]) == ("limit_reached", "cost")
    assert dear_one.server.requests == []


async def test_what_was_spent_counts_for_a_free_model_too(worlds: Worlds) -> None:
    world = worlds(*dear(5))
    async with world.open(max_cost=0.5, **PRICED) as thread:
        assert (await thread.take()).name == "limit_reached"
    async with world.open(model_id="vllm/scripted") as thread:
        assert (await thread.take("And for free?")).data["kind"] == "cost"
    assert len(world.server.requests) == 1


async def test_a_summary_is_paid_for_too(worlds: Worlds) -> None:
    summary = Track([Step("Gist.", usage=USAGE)], contains="about to be replaced by your summary")
    world = worlds(*[Step("word " * 4_000)] * 3, tracks=[summary], model_id="openai/gpt-x")
    async with world.open(**{**PRICED, "compact_at_tokens": 9_000}) as thread:
        for n in range(3):
            await thread.take(f"Go {n}.")
        assert [data["kind"] for data in thread.said("llm_call")].count("compaction") == 1
    assert [kind for kind, _ in spent(world)].count("compaction") == 1
    store = open_store(world.home)
    totals = listing.totals(store, "t1")
    store.close()
    assert totals["spend"]["compaction"]["usd"] == pytest.approx(1.0)
