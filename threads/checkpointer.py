"""LangGraph's SQLite saver, tied to our journal: events first, then the checkpoint, then its step."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiosqlite
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from .describe import describe
from .store import BUSY_TIMEOUT_MS, fence_sql, in_words

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.base import (
        ChannelVersions,
        Checkpoint,
        CheckpointMetadata,
        CheckpointTuple,
        DeltaChannelHistory,
    )

    from .budget import Ledger
    from .effects import EffectLog
    from .journal import Journal


class JournalingSaver(AsyncSqliteSaver):
    """The official saver with integer versions; every checkpoint a node writes becomes a step.

    A checkpoint is written after the events of its nodes are stored, so no event can be missing that
    a checkpoint speaks of. A step row may be missing after a crash; `heal` adds it.
    """

    def __init__(self, connection: aiosqlite.Connection, path: Path) -> None:
        super().__init__(connection, serde=JsonPlusSerializer(allowed_msgpack_modules=[]))
        self.path = path
        self._written: dict[str, list[tuple[str, Sequence[tuple[str, Any]]]]] = {}
        self.journal: Journal | None = None
        self.effect_log: EffectLog | None = None
        self.ledger: Ledger | None = None
        self.write_count = 0
        """Writes so far: what was read before the newest of them is out of date."""
        self.settling_node: str | None = None
        """Node that an `aupdate_state` under way writes as; its checkpoint is a step too."""

    def get_next_version(self, current: int | None, channel: None) -> int:  # type: ignore[override]
        """Integers: the saver's long version strings were half of every row."""
        return 1 if current is None else current + 1

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Write the checkpoint once its events are stored, then number it."""
        if self.journal:
            await self.journal.flush()
        with in_words(self.path):
            async with self._whole():
                stored = await super().aput(config, checkpoint, metadata, new_versions)
        if self.journal:
            self._number(config["configurable"].get("checkpoint_id"), checkpoint["id"], metadata)
        return stored

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Write what a finished task returned once its events are stored."""
        if self.journal:
            await self.journal.flush()
        with in_words(self.path):
            async with self._whole():
                await super().aput_writes(config, writes, task_id, task_path)
        self._written.setdefault(config["configurable"]["checkpoint_id"], []).append((task_path, writes))

    @asynccontextmanager
    async def _whole(self) -> AsyncIterator[None]:
        """Undo a write that failed: the transaction it began would lock our own other connection out."""
        self.write_count += 1
        try:
            yield
        except aiosqlite.Error:
            await self.conn.rollback()
            raise
        finally:
            self.write_count += 1  # again: a read in between has seen neither state for sure

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Read a checkpoint, the newest by default."""
        with in_words(self.path):
            return await super().aget_tuple(config)

    async def aget_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """Read what was written to channels since their last full copy."""
        with in_words(self.path):
            return await super().aget_delta_channel_history(config=config, channels=channels)

    def remember(
        self, checkpoint_id: str | None, written: Sequence[tuple[str, Sequence[tuple[str, Any]]]]
    ) -> None:
        """What earlier runs wrote towards the next step, so that its row tells of all of it."""
        if checkpoint_id and written:
            self._written[checkpoint_id] = list(written)

    def _number(self, parent_id: str | None, checkpoint_id: str, metadata: CheckpointMetadata) -> None:
        written = self._written.pop(parent_id or "", [])
        step = describe(written)
        if metadata["source"] == "update" and self.settling_node:
            step = describe(written, node=self.settling_node)
        elif metadata["source"] != "loop" or step is None:
            return
        if step and self.journal:
            spent = self.ledger.of_step() if self.ledger else {}
            self.journal.record_step(checkpoint_id, **step._asdict() | spent)
        if self.effect_log:
            self.effect_log.checkpointed()


async def open_saver(path: Path, thread_id: str, run_no: int) -> JournalingSaver:
    """Open LangGraph's tables in our database, fenced against a newer run of the thread."""
    with in_words(path):
        connection = await aiosqlite.connect(path)
        try:
            await connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
            saver = JournalingSaver(connection, path)
            await saver.setup()
            await connection.execute("PRAGMA synchronous=NORMAL")
            for table in ("checkpoints", "writes"):
                await connection.execute(fence_sql(table, thread_id, run_no))
            await connection.commit()
        except BaseException:
            await connection.close()
            raise
    return saver
