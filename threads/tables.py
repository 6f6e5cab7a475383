"""Our own tables, beside LangGraph's checkpoints in the same database."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)

SCHEMA_VERSION = 1
"""Kept in `PRAGMA user_version`; a newer file is refused, an older one migrated."""

metadata = MetaData()

threads = Table(
    "threads",
    metadata,
    Column("id", String, primary_key=True),
    Column("title", Text, nullable=False, default=""),
    Column("cwd", Text, nullable=False),
    Column("model", Text, nullable=False, default=""),
    Column("created_at", String, nullable=False),
    Column("updated_at", String, nullable=False),
    Column("status", String, nullable=False, default="idle"),
    Column("parent_id", String),
    Column("parent_checkpoint_id", String),
    Column("run_no", Integer, nullable=False, default=0),
    Column("next_seq", Integer, nullable=False, default=1),
    Column("turn_count", Integer, nullable=False, default=0),
    Column("total_tokens", Integer, nullable=False, default=0),
    Column("cost_usd", Float, nullable=False, default=0.0),
    Column("unpriced_calls", Integer, nullable=False, default=0),
    Column("max_cost_usd", Float),
    Column("iterations_base", Integer, nullable=False, default=0),
    Column("approval_mode", String),
    Column("system_prompt", Text, nullable=False, default=""),
    Index("threads_by_update", "updated_at"),
)
"""A resumable conversation. `status`: idle, running, waiting, interrupted, limit, error."""

events = Table(
    "events",
    metadata,
    Column("thread_id", String, primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("at", String, nullable=False),
    Column("name", String, nullable=False),
    Column("data", Text, nullable=False),
    Column("step", Integer, nullable=False, default=0),
)
"""One emitted event, JSON in `data`; `step` is the newest step when it was emitted."""

steps = Table(
    "steps",
    metadata,
    Column("thread_id", String, primary_key=True),
    Column("step", Integer, primary_key=True),
    Column("checkpoint_id", String, nullable=False),
    Column("node", String, nullable=False),
    Column("at", String, nullable=False),
    Column("what", Text, nullable=False, default=""),
    Column("tokens", Integer),
    Column("usd", Float),
    Column("undone", Boolean, nullable=False, default=False),
    sqlite_with_rowid=False,
)
"""One checkpoint written by a node, numbered from 1, never reused."""

effects = Table(
    "effects",
    metadata,
    Column("thread_id", String, primary_key=True),
    Column("call_id", String, primary_key=True),
    Column("digest", String, nullable=False),
    Column("tool", String, nullable=False),
    Column("effect", String, nullable=False),
    Column("state", String, nullable=False),
    Column("run_no", Integer, nullable=False),
    Column("started_at", String, nullable=False),
    Column("finished_at", String),
    Column("fingerprint", Text, nullable=False, default="{}"),
    Column("entry_id", String),
    Column("entry", Text),
    Column("reference", String),
    sqlite_with_rowid=False,
)
"""One tool call with effects. `entry` holds the whole result until a checkpoint does, then its head."""

spend = Table(
    "spend",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("thread_id", String, nullable=False),
    Column("at", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("model", String),
    Column("tokens", Integer, nullable=False, default=0),
    Column("estimated_usd", Float),
    Column("actual_usd", Float),
    Index("spend_by_thread", "thread_id"),
)
"""One amount: `kind` is model, compaction, job or sandbox; both amounts NULL when nobody knows the price."""

approvals = Table(
    "approvals",
    metadata,
    Column("thread_id", String, primary_key=True),
    Column("payload_hash", String, primary_key=True),
    Column("asked_at", String, nullable=False),
    Column("payload", Text, nullable=False),
    Column("answer", Text),
    Column("answered_at", String),
    Column("settled", Boolean, nullable=False, default=False),
    sqlite_with_rowid=False,
)
"""One question to the person. Waiting: `settled` false; an answer given from outside stands in `answer`."""

FENCED = ("events", "steps", "effects", "spend", "approvals")
"""Our tables that only the newest run of a thread may write; the saver's own are fenced by its connection."""
