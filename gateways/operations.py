"""Operations on standard input, one JSON object a line: `--input stream-json`."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import TYPE_CHECKING, Any, TextIO

from ..errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..threads.session import Session

OPERATIONS = ("user_input", "exec_approval", "interrupt", "compact", "shutdown")


async def serve(session: Session, lines: TextIO | None, *, stopped: Callable[[], bool]) -> None:
    """Carry out operations until `shutdown` or the end of input.

    Each line is `{"op_type": NAME, "data": {…}}`, or that object under the key `operation`. Operations
    run one after the other; `interrupt` acts at once on the one that runs. `stopped` says that a signal
    ended the turn, and with it the process.
    """
    queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    reader = threading.Thread(target=_read, args=(lines, loop, queue, session), daemon=True)
    reader.start()
    while not stopped():
        operation = await _next(queue, session)
        if operation is None or operation["op_type"] == "shutdown":
            session.journal.emit("shutdown", {})
            await session.journal.drain()
            return
        try:
            await _carry_out(operation["op_type"], _data(operation), session)
        except UserError as error:
            session.journal.emit("error", {"error": str(error)})
            await session.journal.drain()


async def _next(queue: asyncio.Queue[dict[str, Any] | None], session: Session) -> dict[str, Any] | None:
    """The next operation; while an approval waits, an answer left by another terminal is one too."""
    if not await session.waiting():
        return await queue.get()
    given = asyncio.create_task(queue.get())
    outside = asyncio.create_task(session.answer_from_outside())
    done, pending = await asyncio.wait({given, outside}, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    if given in done:
        return given.result()
    return {"op_type": "exec_approval", "data": outside.result()}


def _data(operation: dict[str, Any]) -> dict[str, Any]:
    data = operation.get("data")
    if data is not None and not isinstance(data, dict):
        raise UserError(f"data of {operation['op_type']} must be an object.")
    return data or {}


async def _carry_out(name: str, data: dict[str, Any], session: Session) -> None:
    if name == "user_input":
        text = data.get("text")
        if not isinstance(text, str):
            raise UserError("user_input needs data.text.")
        if text.strip():
            await session.take(text)
        else:
            await session.go_on(fresh_count=False)
    elif name == "exec_approval":
        await session.answer(await _answer(data, session))
    elif name == "compact":
        await session.compact()
    elif name == "interrupt":
        session.journal.emit("interrupted", {"reason": "nothing was running"})
        await session.journal.drain()
    else:
        raise UserError(f"Unknown operation {name!r}; there are {', '.join(OPERATIONS)}.")


async def _answer(data: dict[str, Any], session: Session) -> dict[str, Any]:
    """The answer in our form, from ours or from a list of `{tool_call_id, approved, feedback}`."""
    waiting = await session.waiting()
    if waiting is None:
        raise UserError("No approval waits for an answer.")
    given = data.get("decisions")
    if isinstance(given, dict):
        if data.get("payload_hash") != waiting["payload_hash"]:
            raise UserError("This answers another question than the one that waits; nothing was run.")
    elif isinstance(data.get("approvals"), list):
        given = {
            item["tool_call_id"]: item
            for item in data["approvals"]
            if isinstance(item, dict) and isinstance(item.get("tool_call_id"), str)
        }
    else:
        raise UserError("exec_approval needs data.approvals: [{tool_call_id, approved, feedback?}].")
    decisions = {
        call_id: {"approved": item.get("approved") is True, "feedback": str(item.get("feedback") or "")}
        for call_id, item in given.items()
        if isinstance(item, dict)
    }
    return {"payload_hash": waiting["payload_hash"], "decisions": decisions}


def _read(
    lines: TextIO | None,
    loop: asyncio.AbstractEventLoop,
    queue: asyncio.Queue[dict[str, Any] | None],
    session: Session,
) -> None:
    """Read in a thread of its own; hand each operation to the loop."""
    for line in lines or ():  # no standard input at all is the end of it
        if not line.strip():
            continue
        try:
            operation = json.loads(line)
            operation = operation.get("operation", operation)
            name = operation["op_type"]
        except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
            operation, name = {"op_type": line.strip()[:60]}, ""
        if name == "interrupt" and session.is_running:
            loop.call_soon_threadsafe(session.interrupt, "interrupt operation")
        else:
            loop.call_soon_threadsafe(queue.put_nowait, operation)
    loop.call_soon_threadsafe(queue.put_nowait, None)
