"""Look into the database without changing it: is it whole, of our schema, free of rows without a thread."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from urllib.parse import quote

from .store import DATABASE_NAME
from .tables import SCHEMA_VERSION, metadata

if TYPE_CHECKING:
    from pathlib import Path

_OF_LANGGRAPH = ("checkpoints", "writes")
_WAIT_S = 5.0


@dataclass(frozen=True, slots=True)
class DatabaseState:
    """What one look at the database found."""

    problem: str | None = None
    """Why it cannot be used, in one line; None when it can."""
    schema_version: int = 0
    thread_count: int = 0
    size_bytes: int = 0
    log_bytes: int = 0
    """Size of the write-ahead log; it is merged when the last process ends."""
    orphans: dict[str, int] = field(default_factory=dict)
    """Table -> rows that belong to no thread."""

    @property
    def is_older(self) -> bool:
        """Whether the next run migrates it."""
        return self.problem is None and self.schema_version < SCHEMA_VERSION


def check_database(home: Path) -> DatabaseState | None:
    """The state of the database under `home`; None when there is none yet."""
    path = home / DATABASE_NAME
    if not path.exists():
        return None
    log = path.with_name(f"{path.name}-wal")
    empty = DatabaseState(size_bytes=path.stat().st_size, log_bytes=log.stat().st_size if log.exists() else 0)
    try:
        connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=_WAIT_S)
    except sqlite3.Error as error:
        return replace(empty, problem=str(error))
    try:
        return _look(connection, empty)
    except sqlite3.Error as error:
        return replace(empty, problem=str(error))
    finally:
        connection.close()


def _look(connection: sqlite3.Connection, empty: DatabaseState) -> DatabaseState:
    version = _number(connection, "PRAGMA user_version")
    state = replace(empty, schema_version=version)
    if version > SCHEMA_VERSION:
        text = f"written by a newer ml-intern (schema {version}, this one knows {SCHEMA_VERSION}): update"
        return replace(state, problem=text)
    damage = [str(row[0]) for row in connection.execute("PRAGMA quick_check(3)")]
    if damage != ["ok"]:
        return replace(state, problem=f"damaged: {'; '.join(damage)}")
    there = {str(row[0]) for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    missing = sorted(set(metadata.tables) - there)
    if missing and version == SCHEMA_VERSION:
        return replace(state, problem=f"tables are missing: {', '.join(missing)}")
    if "threads" not in there:
        return state  # made, and nothing was ever stored
    ours = [name for name, table in metadata.tables.items() if "thread_id" in table.columns]
    counts = {
        name: _number(
            connection, f"SELECT count(*) FROM {name} WHERE thread_id NOT IN (SELECT id FROM threads)"
        )
        for name in (*ours, *_OF_LANGGRAPH)
        if name in there
    }
    return replace(
        state,
        thread_count=_number(connection, "SELECT count(*) FROM threads"),
        orphans={name: count for name, count in counts.items() if count},
    )


def _number(connection: sqlite3.Connection, query: str) -> int:
    return int(connection.execute(query).fetchone()[0])
