"""Tables and summaries of stored threads; nothing here opens a checkpoint."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from ..configs.home import ml_intern_home
from ..threads import lease, listing
from ..threads.opening import open_store
from .streams import Writer
from .tables import print_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from ..threads.store import Store

TableOutput = Literal["text", "json"]


def list_threads(environ: Mapping[str, str], *, cwd: Path | None, output: TableOutput) -> None:
    """Threads of a directory, or all, newest first."""
    with _store(environ) as store:
        rows = listing.thread_rows(store, cwd=str(cwd.absolute()) if cwd else None)
        home = ml_intern_home(environ)
        for row in rows:
            row["status"] = _status(row, home)
    if output == "json":
        _print_json([_public(row) for row in rows])
        return
    print_table(
        ("id", "updated", "status", "turns", "usd", "model", "title"),
        [
            (
                row["id"],
                _time(row["updated_at"]),
                row["status"],
                row["turn_count"],
                _usd(row),
                row["model"],
                row["title"],
            )
            for row in rows
        ],
        sys.stdout,
        env=environ,
        empty="No threads here yet; --all shows those of other directories." if cwd else "No threads yet.",
    )


def show_thread(environ: Mapping[str, str], thread: str, *, output: TableOutput) -> None:
    """Everything the database knows of one thread, in short."""
    with _store(environ) as store:
        thread_id = listing.resolve_id(store, thread)
        row = listing.thread_row(store, thread_id) or {}
        row["status"] = _status(row, ml_intern_home(environ))
        waiting = listing.waiting_approval(store, thread_id)
        plan = listing.last_event(store, thread_id, ["plan_update"])
        closing = listing.last_event(store, thread_id, ["turn_complete"])
        totals = listing.totals(store, thread_id)
        files = listing.files_touched(store, thread_id)
    data = {
        **_public(row),
        **totals,
        "plan": plan["data"]["plan"] if plan else [],
        "files": files,
        "waiting": waiting["payload"]["tools"] if waiting and row["status"] == "waiting" else [],
        "final_response": closing["data"].get("final_response") if closing else None,
    }
    if output == "json":
        _print_json(data)
        return
    Writer(sys.stdout).write(_summary(data))


def show_history(environ: Mapping[str, str], thread: str, *, output: TableOutput) -> None:
    """The steps of a thread, oldest first."""
    with _store(environ) as store:
        rows = listing.step_rows(store, listing.resolve_id(store, thread))
    if output == "json":
        _print_json(rows)
        return
    print_table(
        ("step", "node", "at", "tokens", "usd", "what"),
        [
            (
                f"{row['step']}{' (undone)' if row['undone'] else ''}",
                row["node"],
                _time(row["at"]),
                row["tokens"],
                None if row["usd"] is None else f"{row['usd']:.4f}",
                row["what"],
            )
            for row in rows
        ],
        sys.stdout,
        env=environ,
        empty="No steps yet.",
    )


@contextmanager
def _store(environ: Mapping[str, str]) -> Iterator[Store]:
    store = open_store(ml_intern_home(environ))
    try:
        yield store
    finally:
        store.close()


def _status(row: Mapping[str, Any], home: Path) -> str:
    """A thread marked running that no process holds was stopped by a crash."""
    if row["status"] == "running" and lease.holder(home, row["id"]) is None:
        return "crashed"
    return str(row["status"])


def _public(row: Mapping[str, Any]) -> dict[str, Any]:
    hidden = ("system_prompt", "next_seq", "run_no", "iterations_base")
    public = {key: value for key, value in row.items() if key not in hidden}
    if row["unpriced_calls"]:
        public["cost_usd"] = None
    return public


def _usd(row: Mapping[str, Any]) -> str:
    return "?" if row["unpriced_calls"] else f"{row['cost_usd']:.4f}"


def _time(at: str) -> str:
    return at[:19].replace("T", " ")


def _print_json(value: Any) -> None:
    Writer(sys.stdout).write(json.dumps(value, indent=2) + "\n")


def _summary(data: Mapping[str, Any]) -> str:
    cost = "unknown" if data["cost_usd"] is None else f"${data['cost_usd']:.4f}"
    cap = f" of ${data['max_cost_usd']:.2f}" if data["max_cost_usd"] is not None else ""
    lines = [
        f"{data['id']}  {data['title']}",
        f"status    {data['status']}",
        f"directory {data['cwd']}",
        f"model     {data['model']}",
        f"created   {_time(data['created_at'])}   updated {_time(data['updated_at'])}",
        f"turns     {data['turn_count']}   steps {data['steps']}",
        f"cost      {cost}{cap}, {data['total_tokens']:,} tokens",
    ]
    lines += [f"plan      [{item['status']}] {item['content']}" for item in data["plan"]]
    lines += [f"file      {path}" for path in data["files"]]
    lines += [
        f"waiting   {call['tool']} {json.dumps(call['arguments'])}: {call['reason']}"
        for call in data["waiting"]
    ]
    if data["waiting"]:
        lines.append(f"          answer with: ml-intern approve {data['id']}")
    if data["final_response"]:
        lines += ["", data["final_response"]]
    return "\n".join(lines) + "\n"
