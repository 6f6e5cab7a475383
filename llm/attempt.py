"""One attempt at a model call: send the request, take the answer in, hang up."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from .gather import Gatherer, drafts_of_message, usage_of
from .wire import StreamFault, litellm_handler

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

    from .wire import Wire


class AttemptFailed(Exception):
    """litellm, the provider or the connection failed; the cause says how."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.cause = cause


async def attempt(
    litellm: Any,
    arguments: dict[str, Any],
    wire: Wire | None,
    *,
    stall_s: float,
    on_text: Callable[[str], None],
) -> Gatherer:
    """The whole answer.

    Args:
        litellm: The module.
        arguments: Of `acompletion`.
        wire: Ours, for the routes that take it; None lets litellm connect by itself.
        stall_s: Longest silence of a stream that litellm reads; on our wire silence is counted in bytes.
        on_text: Gets each new piece of text of a stream.

    Raises:
        AttemptFailed: Anything went wrong that is not ours.
    """
    if wire is not None:
        arguments = {**arguments, "client": litellm_handler(wire)}
    answer = await _guarded(litellm.acompletion(**arguments))
    gathered = Gatherer()
    if not arguments["stream"]:
        _take_whole(gathered, answer)
        return gathered
    pieces = _own_chunks(answer, wire)
    if pieces is None:
        await _gather_wrapped(gathered, answer, stall_s=stall_s, on_text=on_text)
    else:
        async with aclosing(pieces):
            await _gather(gathered, pieces, stall_s=None, on_text=on_text)
    if gathered.finish_reason is None:
        raise AttemptFailed(
            StreamFault({"error": {"message": "the stream ended in the middle of the answer"}})
        )
    return gathered


async def _guarded(awaitable: Any) -> Any:
    """The result; an exception of litellm's becomes ours, so that our own bugs stay what they are."""
    try:
        return await awaitable
    except Exception as error:
        # litellm raises some thirty types, bare Exception among them; classify() sorts them.
        raise AttemptFailed(error) from error


async def _gather(
    gathered: Gatherer,
    pieces: AsyncIterator[Any],
    *,
    stall_s: float | None,
    on_text: Callable[[str], None],
) -> None:
    while True:
        try:
            async with asyncio.timeout(stall_s):
                piece = await anext(pieces)
        except StopAsyncIteration:
            return
        except Exception as error:
            raise AttemptFailed(error) from error  # see _guarded
        text = gathered.add_chunk(piece)
        if text:
            on_text(text)


async def _gather_wrapped(
    gathered: Gatherer, answer: Any, *, stall_s: float, on_text: Callable[[str], None]
) -> None:
    """Through litellm's own stream wrapper, which ends every stream with a finish reason, cut or not."""
    try:
        await _gather(gathered, aiter(answer), stall_s=stall_s, on_text=on_text)
    finally:
        await answer.aclose()
    said = getattr(answer, "received_finish_reason", None) or getattr(
        answer, "intermittent_finish_reason", None
    )
    if said is None:
        gathered.finish_reason = None
    if not any(getattr(chunk, "usage", None) for chunk in getattr(answer, "chunks", None) or ()):
        gathered.usage = None  # litellm's estimate, not the provider's count


def _own_chunks(answer: Any, wire: Wire | None) -> AsyncGenerator[Any, None] | None:
    """Chunks read from our wire and understood by litellm's parser; None when the answer did not come so."""
    if wire is None or wire.response is None:
        return None
    from litellm.llms.anthropic.chat.handler import ModelResponseIterator  # noqa: PLC0415 - loaded by now
    from litellm.llms.openai.chat.gpt_transformation import (  # noqa: PLC0415 - loaded by now
        OpenAIChatCompletionStreamingHandler,
    )
    from litellm.llms.openrouter.chat.transformation import (  # noqa: PLC0415 - loaded by now
        OpenRouterChatCompletionStreamingHandler,
    )

    parser = getattr(answer, "completion_stream", None)
    known = (
        ModelResponseIterator,
        OpenAIChatCompletionStreamingHandler,
        OpenRouterChatCompletionStreamingHandler,
    )
    if not isinstance(parser, known):
        return None
    return _parsed(parser, wire)


async def _parsed(parser: Any, wire: Wire) -> AsyncGenerator[Any, None]:
    async with aclosing(wire.events()) as events:
        async for event in events:
            yield parser.chunk_parser(event)


def _take_whole(gathered: Gatherer, answer: Any) -> None:
    gathered.usage = usage_of(getattr(answer, "usage", None))
    choices = getattr(answer, "choices", None)
    if not choices:
        raise AttemptFailed(StreamFault({"error": {"message": "the answer holds no choice"}}))
    choice = choices[0]
    message = choice.message
    if isinstance(message.content, str) and message.content:
        gathered.text.append(message.content)
    reasoning = getattr(message, "reasoning_content", None)
    if isinstance(reasoning, str) and reasoning:
        gathered.reasoning.append(reasoning)
    gathered.thinking_blocks = [dict(block) for block in getattr(message, "thinking_blocks", None) or ()]
    gathered.drafts = drafts_of_message(message.tool_calls)
    gathered.finish_reason = choice.finish_reason or "stop"
