"""What both wire formats share: refusals, token counts, cutting text into chunks."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .script import Json, Script, Step

IMAGE_CHARS = 4_000
"""What an image counts as, whatever its size: a thousand tokens."""


class Refusal(Exception):
    """The request is answered with an error in the provider's words."""

    def __init__(self, status: int, body: Json) -> None:
        super().__init__(json.dumps(body))
        self.status = status
        self.body = body


@dataclass(frozen=True, slots=True)
class Answer:
    """A step about to be sent, with what the wire needs beside it."""

    step: Step
    number: int
    request: Json
    prompt_tokens: int

    @property
    def model(self) -> str:
        """The model as the request named it."""
        return str(self.request.get("model"))

    @property
    def completion_tokens(self) -> int:
        """A quarter of the characters sent, at least one."""
        step = self.step
        chars = len(step.text) + len(step.reasoning)
        chars += sum(len(call.name) + len(call.text) for call in step.calls)
        return max(1, chars // 4)

    def call_id(self, prefix: str, place: int) -> str:
        """The id of one tool call, the same whenever this answer is given again."""
        return self.step.tool_calls[place].id or f"{prefix}_{self.number:04d}_{place}"


class Wire(Protocol):
    """One provider's way of talking."""

    def check(self, request: Json, headers: Mapping[str, str], script: Script) -> int:
        """Token count of a request in order.

        Raises:
            Refusal: The provider would refuse it.
        """

    def refusal(self, status: int, error: Json | str | None) -> Json:
        """Body of an error answer; None for the error takes the provider's usual text."""

    def whole(self, answer: Answer) -> Json:
        """The answer in one piece."""

    def events(self, answer: Answer) -> list[bytes]:
        """The answer as server-sent events."""

    def error_event(self, error: Json | str | None) -> bytes:
        """An error in the midst of a stream."""


def count_tokens(request: Json) -> int:
    """A quarter of the characters in messages, system prompt and tools: crude, but always the same."""
    chars = sum(_chars(request.get(key)) for key in ("messages", "system", "tools"))
    return max(1, chars // 4)


def _chars(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, list):
        return sum(map(_chars, value))
    if isinstance(value, dict):
        if value.get("type") in {"image", "image_url"}:
            return IMAGE_CHARS
        return sum(len(key) + _chars(item) for key, item in value.items())
    return 0


def pieces(text: str, size: int) -> list[str]:
    """The text cut into chunks of `size` characters; 0 leaves it whole, an empty text gives none."""
    if not text:
        return []
    size = size or len(text)
    return [text[start : start + size] for start in range(0, len(text), size)]


def bearer(headers: Mapping[str, str]) -> str:
    """The key of an `Authorization: Bearer` header, or the empty text."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""
