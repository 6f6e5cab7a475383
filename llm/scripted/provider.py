"""`scripted/…` as a provider of litellm. Import it only once litellm is loaded."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import litellm
from litellm import CustomLLM

from .demo import answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .demo import Answer

PROVIDER = "scripted"


def register() -> None:
    """Let litellm know the provider; later calls do nothing."""
    if not any(item["provider"] == PROVIDER for item in litellm.custom_provider_map):
        litellm.custom_provider_map.append({"provider": PROVIDER, "custom_handler": ScriptedModel()})


class ScriptedModel(CustomLLM):  # type: ignore[misc] # litellm is not type-checked here
    """Answers each request from what is in it, so that it can go on after any crash."""

    async def acompletion(self, model: str, messages: list[dict[str, Any]], **_: Any) -> Any:
        """The whole answer at once."""
        given = answer(messages)
        message = {"role": "assistant", "content": given.text, "tool_calls": _tool_calls(given, messages)}
        choice = {"index": 0, "finish_reason": _finish_reason(given), "message": message}
        return litellm.ModelResponse(model=model, choices=[choice])

    async def astreaming(
        self, model: str, messages: list[dict[str, Any]], **_: Any
    ) -> AsyncIterator[dict[str, Any]]:
        """The answer word by word, then its calls."""
        del model
        given = answer(messages)
        for word in re.findall(r"\S+\s*", given.text):
            yield _chunk(text=word)
        for index, call in enumerate(_tool_calls(given, messages) or ()):
            yield _chunk(tool_use={**call, "index": index})
        yield _chunk(finish_reason=_finish_reason(given))


def _chunk(text: str = "", tool_use: dict[str, Any] | None = None, finish_reason: str = "") -> dict[str, Any]:
    """One piece in litellm's generic form, which wants every key."""
    return {
        "text": text,
        "tool_use": tool_use,
        "is_finished": bool(finish_reason),
        "finish_reason": finish_reason,
        "usage": None,
        "index": 0,
    }


def _tool_calls(given: Answer, messages: list[dict[str, Any]]) -> list[dict[str, Any]] | None:
    """The calls with ids that a repeated request gets again."""
    if not given.calls:
        return None
    return [
        {
            "id": f"call_demo_{len(messages)}_{index}",
            "type": "function",
            "function": {"name": name, "arguments": arguments},
        }
        for index, (name, arguments) in enumerate(given.calls)
    ]


def _finish_reason(given: Answer) -> str:
    return "tool_calls" if given.calls else "stop"
