from __future__ import annotations

from typing import TYPE_CHECKING

import aiosqlite
import pytest

from ml_intern.tests.bench.script import Step
from ml_intern.tests.threads.world import bash
from ml_intern.threads.store import DATABASE_NAME

if TYPE_CHECKING:
    from ml_intern.tests.threads.world import Worlds


async def test_steps_that_a_crash_left_out_are_numbered_when_the_thread_is_opened(worlds: Worlds) -> None:
    usage = {"prompt_tokens": 900, "completion_tokens": 100}
    world = worlds(
        Step(tool_calls=[bash("echo x")], usage=usage), Step("Done.", usage=usage), model_id="openai/gpt-x"
    )
    async with world.open(price_overrides={"openai/gpt-x": {"input": 1.0, "output": 1.0}}) as thread:
        await thread.take()
    whole = world.steps()
    assert sum(row["usd"] or 0 for row in whole) == pytest.approx(0.002)
    async with aiosqlite.connect(world.home / DATABASE_NAME) as connection:
        await connection.execute("DELETE FROM steps WHERE step > 1")
        await connection.commit()
    async with world.open():
        pass
    healed = world.steps()
    keys = ("step", "checkpoint_id", "node", "what", "tokens", "usd")
    assert [[row[key] for key in keys] for row in healed] == [[row[key] for key in keys] for row in whole]


async def test_a_step_whose_model_call_was_paid_by_a_killed_run_still_says_what_it_took(
    worlds: Worlds,
) -> None:
    world = worlds(Step("Done.", usage={"prompt_tokens": 900, "completion_tokens": 100}))
    async with world.open() as thread:
        await thread.take()
    before = world.steps()[0]["checkpoint_id"]
    async with aiosqlite.connect(world.home / DATABASE_NAME) as connection:
        # The answer is on disk as the write of its task; its checkpoint is not.
        await connection.execute("DELETE FROM steps WHERE step > 1")
        await connection.execute("DELETE FROM checkpoints WHERE checkpoint_id > ?", (before,))
        await connection.commit()
    async with world.open() as thread:
        assert (await thread.go_on()).data["final_response"] == "Done."
    assert len(world.server.requests) == 1
    assert [(row["node"], row["tokens"]) for row in world.steps()] == [("compact", None), ("llm_call", 1_000)]
