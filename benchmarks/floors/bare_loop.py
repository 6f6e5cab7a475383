"""The least agent there is: litellm's plain OpenAI route, streaming, one shell tool, nothing stored.

Called with the base URL of a model server; ends with the first answer that asks for no tool.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING, Any

import litellm

if TYPE_CHECKING:
    from collections.abc import Iterable

TOOL = {
    "type": "function",
    "function": {
        "name": "bash",
        "description": "Run a shell command.",
        "parameters": {
            "type": "object",
            "properties": {"command": {"type": "string"}},
            "required": ["command"],
        },
    },
}


async def answer(base_url: str, messages: list[dict[str, Any]]) -> dict[str, Any]:
    """One model call, gathered from its stream."""
    stream = await litellm.acompletion(
        model="openai/bench",
        messages=messages,
        tools=[TOOL],
        stream=True,
        stream_options={"include_usage": True},
        api_base=base_url,
    )
    text = ""
    calls: list[dict[str, Any]] = []
    async for chunk in stream:
        for choice in chunk.choices:
            text += choice.delta.content or ""
            gather(calls, choice.delta.tool_calls or ())
    message: dict[str, Any] = {"role": "assistant", "content": text or None}
    return {**message, "tool_calls": calls} if calls else {"role": "assistant", "content": text}


def gather(calls: list[dict[str, Any]], parts: Iterable[Any]) -> None:
    """Add the pieces of one chunk to the tool calls so far."""
    for part in parts:
        if part.id:
            calls.append({"id": part.id, "type": "function", "function": {"name": "", "arguments": ""}})
        calls[-1]["function"]["name"] += part.function.name or ""
        calls[-1]["function"]["arguments"] += part.function.arguments or ""


async def shell(command: str) -> str:
    """Run one command."""
    process = await asyncio.create_subprocess_shell(
        command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    return output.decode()


async def main(base_url: str) -> None:
    """Ask, run, ask again."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": "You run commands."}]
    messages.append({"role": "user", "content": "go"})
    while True:
        message = await answer(base_url, messages)
        messages.append(message)
        if "tool_calls" not in message:
            print(message["content"])
            return
        for call in message["tool_calls"]:
            output = await shell(json.loads(call["function"]["arguments"])["command"])
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": output})


asyncio.run(main(sys.argv[1]))
