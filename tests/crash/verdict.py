"""What must hold after a kill and a resume; every breach is one sentence."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING, Any

from ml_intern.events import CLOSING, UNSTORED
from ml_intern.nodes._entries import calls_of, text_of, wire_messages
from ml_intern.tests.bench import openai_rules
from ml_intern.threads.blobs import BlobStore

from .launch import marked_processes
from .scenario import EFFECTS, FINAL, PROMPT, THREAD

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ml_intern.graphs.state import Entry

    from .launch import Run
    from .scenario import Scenario

NODES = {"compact", "llm_call", "doom_check", "approval_interrupt", "tool_exec"}


def breaches(scenario: Scenario, runs: Sequence[Run]) -> list[str]:
    """Everything that is wrong after the last of these runs ended well; empty when nothing is."""
    history = read_history(scenario.database, THREAD)
    return [
        *_answer(runs[-1], history),
        *_effects(scenario, history),
        *_wire(scenario, history),
        *journal_breaches(scenario.database, THREAD, history),
        *_shown(scenario.database, runs),
        *(f"process {pid} was left behind" for pid in marked_processes(scenario.mark)),
    ]


def read_history(database: Path, thread_id: str) -> list[Entry]:
    """The thread's history as its newest checkpoint has it."""
    return asyncio.run(_read_history(database, thread_id))


async def _read_history(database: Path, thread_id: str) -> list[Entry]:
    import aiosqlite  # noqa: PLC0415 - with langgraph below
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver  # noqa: PLC0415 - half a second

    from ml_intern.graphs.agent import build_agent  # noqa: PLC0415 - as above

    async with aiosqlite.connect(database) as connection:
        graph = build_agent(AsyncSqliteSaver(connection))
        state = await graph.aget_state({"configurable": {"thread_id": thread_id}})
    history: list[Entry] = state.values.get("history", [])
    return history


def read_rows(database: Path, query: str, *values: Any) -> list[dict[str, Any]]:
    """Rows of our tables, read beside whoever writes."""
    with closing(sqlite3.connect(database, timeout=10)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(query, values)]


def _answer(last: Run, history: list[Entry]) -> Iterator[str]:
    final = last.events[-1] if last.events else {"event": None, "data": {}}
    if final["event"] != "turn_complete" or final["data"]["final_response"] != FINAL:
        yield f"the last event is {final}"
    users = [text_of(entry) for entry in history if entry["kind"] == "user"]
    if users != [PROMPT]:
        yield f"the history holds these prompts: {users}"
    if [entry for entry in history if entry["kind"] == "note"]:
        yield "the model was told something that only a defect can have caused"


def _effects(scenario: Scenario, history: list[Entry]) -> Iterator[str]:
    marks = Counter(scenario.marked())
    told: dict[str, Entry] = {}
    commands = {
        call["id"]: call["function"]["arguments"]
        for entry in history
        for call in calls_of(entry)
        if call["function"]["name"] == "bash"
    }
    for entry in history:
        for mark in EFFECTS:
            if f"printf '{mark}" in commands.get(entry.get("call_id", ""), ""):
                told[mark] = entry
    for mark in EFFECTS:
        if marks[mark] > 1:
            yield f"{mark} happened {marks[mark]} times"
        status = told[mark].get("status") if mark in told else "no result"
        if status not in (None, "unknown"):
            yield f"{mark}: the model was told {status!r}"
        elif status is None and (marks[mark] != 1 or not told[mark].get("ok")):
            yield f"{mark} happened {marks[mark]} times, and the model was told {text_of(told[mark])!r}"
    unknown = [mark for mark in EFFECTS if mark in told and told[mark].get("status") == "unknown"]
    if len(unknown) > 1:
        yield f"one kill left several outcomes unknown: {unknown}"
    code = (scenario.work / "code.py").read_text(encoding="utf-8")
    notes = scenario.work / "notes.txt"
    if code != "value = 2\n":
        yield f"code.py holds {code!r}"
    if not notes.exists() or notes.read_text(encoding="utf-8") != "alpha and beta\n":
        yield "notes.txt is not what was written"


def _wire(scenario: Scenario, history: list[Entry]) -> Iterator[str]:
    for record in scenario.server.requests:
        if record.refusal:
            yield f"request {record.number} ({record.api}) was refused: {record.refusal}"
    messages = wire_messages(history, "system", BlobStore(scenario.home / "blobs"))
    violation = openai_rules.first_violation({"model": "m", "messages": messages})
    if violation:
        yield f"the history makes an invalid request: {violation.message}"
    results = Counter(entry["call_id"] for entry in history if entry["kind"] == "result")
    for entry in history:
        for call in calls_of(entry):
            if results[call["id"]] != 1:
                yield f"call {call['id']} has {results[call['id']]} results"


def journal_breaches(database: Path, thread_id: str, history: Sequence[Entry]) -> Iterator[str]:
    """What is wrong with events and steps, after a run that ended well."""
    events = [
        {**row, "data": json.loads(row["data"])}
        for row in read_rows(database, "SELECT * FROM events WHERE thread_id = ? ORDER BY seq", thread_id)
    ]
    outputs = [event["data"] for event in events if event["name"] == "tool_output"]
    answered = {output["tool_call_id"] for output in outputs}
    for event in events:
        if event["name"] == "tool_call" and event["data"]["tool_call_id"] not in answered:
            yield f"call {event['data']['tool_call_id']} was announced and has no tool_output"
    stored = {output["entry_id"] for output in outputs}
    for entry in history:
        if entry["kind"] == "result" and entry["id"] not in stored:
            yield f"the result of {entry['call_id']} in the history has no tool_output event"
    yield from _operations(events)
    yield from _steps(database, thread_id)


def _operations(events: Sequence[dict[str, Any]]) -> Iterator[str]:
    if [event["name"] for event in events].count("user_message") != 1:
        yield "user_message is not stored exactly once"
    closing_of_run: list[list[str]] = []
    for event in events:
        if event["name"] == "ready":
            closing_of_run.append([])
        elif event["name"] in CLOSING and closing_of_run:
            closing_of_run[-1].append(event["name"])
    for number, names in enumerate(closing_of_run, 1):
        if len(names) > 1:
            yield f"run {number} closed {len(names)} times: {names}"
    if not events or events[-1]["name"] not in CLOSING:
        yield f"the last stored event is {events[-1]['name'] if events else None}"


def _steps(database: Path, thread_id: str) -> Iterator[str]:
    steps = read_rows(database, "SELECT * FROM steps WHERE thread_id = ? ORDER BY step", thread_id)
    if [step["step"] for step in steps] != list(range(1, len(steps) + 1)):
        yield f"steps are numbered {[step['step'] for step in steps]}"
    for step in steps:
        if step["node"] not in NODES:
            yield f"step {step['step']} is of {step['node']!r}"
    numbered = [step["checkpoint_id"] for step in steps]
    checkpoints = read_rows(
        database,
        "SELECT c.checkpoint_id, c.metadata, p.metadata AS before FROM checkpoints c "
        "JOIN checkpoints p ON p.checkpoint_id = c.parent_checkpoint_id AND p.thread_id = c.thread_id "
        "WHERE c.thread_id = ? ORDER BY c.checkpoint_id",
        thread_id,
    )
    by_nodes = [
        row["checkpoint_id"]
        for row in checkpoints
        if json.loads(row["metadata"])["source"] in ("loop", "update")
        and json.loads(row["before"])["source"] != "input"
    ]
    if numbered != by_nodes:
        yield f"steps stand for {len(numbered)} checkpoints, nodes wrote {len(by_nodes)}"


def _shown(database: Path, runs: Sequence[Run]) -> Iterator[str]:
    rows = read_rows(database, "SELECT seq, name FROM events WHERE thread_id = ?", THREAD)
    stored = {row["seq"]: row["name"] for row in rows}
    last = 0
    for run in runs:
        if "Traceback" in run.errors or "internal error" in run.errors:
            yield f"a run complained: {run.errors[-1500:]}"
        for event in run.events:
            if event["thread_id"] is None:
                continue
            if event["seq"] <= last:
                yield f"seq {event['seq']} came after {last}"
            last = event["seq"]
            if event["event"] not in UNSTORED and stored.get(event["seq"]) != event["event"]:
                yield f"{event['event']} {event['seq']} was shown and is not stored"
