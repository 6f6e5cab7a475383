"""Put the pieces of a streamed answer together.

Tool calls are keyed by index *and* id: some providers send index 0 for every call, some send none,
and a piece without an id goes on with the call last seen at its index.
"""

from __future__ import annotations

from typing import Any

from .reply import CallDraft, Usage


class Gatherer:
    """The answer so far."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.thinking_blocks: list[dict[str, Any]] = []
        self.drafts: list[CallDraft] = []
        self.finish_reason: str | None = None
        self.usage: Usage | None = None
        self._last: CallDraft | None = None
        self._at_index: dict[int, CallDraft] = {}

    def add_chunk(self, chunk: Any) -> str:
        """Take in one litellm chunk and return the new text in it."""
        usage = usage_of(getattr(chunk, "usage", None))
        if usage is not None:
            self.usage = _merged(self.usage, usage)
        choices = getattr(chunk, "choices", None)
        if not choices:
            return ""
        choice = choices[0]
        reason = getattr(choice, "finish_reason", None)
        if reason:
            self.finish_reason = str(reason)
        return self.add_delta(getattr(choice, "delta", None))

    def add_delta(self, delta: Any) -> str:
        """Take in what one chunk adds and return the new text in it."""
        if delta is None:
            return ""
        self._add_thinking(delta)
        for piece in getattr(delta, "tool_calls", None) or ():
            self._add_call_piece(piece)
        text = getattr(delta, "content", None)
        if not isinstance(text, str) or not text:
            return ""
        self.text.append(text)
        return text

    def _add_thinking(self, delta: Any) -> None:
        reasoning = getattr(delta, "reasoning_content", None)
        if isinstance(reasoning, str) and reasoning:
            self.reasoning.append(reasoning)
        for block in getattr(delta, "thinking_blocks", None) or ():
            self._add_thinking_block(dict(block))

    def _add_thinking_block(self, block: dict[str, Any]) -> None:
        """Anthropic sends a block's text in pieces and its signature, which closes it, last."""
        last = self.thinking_blocks[-1] if self.thinking_blocks else None
        if block.get("type") != "thinking" or last is None or last.get("type") != "thinking":
            self.thinking_blocks.append(block)
            return
        if last.get("signature") and not block.get("signature"):
            self.thinking_blocks.append(block)
            return
        thinking, so_far = block.get("thinking") or "", last.get("thinking") or ""
        signature = block.get("signature")
        # litellm repeats the whole text beside the signature; other pieces only add to it.
        if not (signature and thinking == so_far):
            last["thinking"] = so_far + thinking
        if signature:
            last["signature"] = signature

    def _add_call_piece(self, piece: Any) -> None:
        function = getattr(piece, "function", None)
        call_id = getattr(piece, "id", None) or ""
        name = getattr(function, "name", None) or ""
        index = getattr(piece, "index", None)
        draft = self._draft_for(index if isinstance(index, int) else None, call_id, name)
        if name and not draft.name:
            draft.name = name
        draft.arguments += _as_text(getattr(function, "arguments", None))

    def _draft_for(self, index: int | None, call_id: str, name: str) -> CallDraft:
        current = self._last if index is None else self._at_index.get(index)
        if current is None or _is_another(current, call_id, name):
            current = self._known(call_id) or self._open(call_id)
        elif call_id and not current.id:
            current.id = call_id
        if index is not None:
            self._at_index[index] = current
        self._last = current
        return current

    def _known(self, call_id: str) -> CallDraft | None:
        return next((draft for draft in self.drafts if call_id and draft.id == call_id), None)

    def _open(self, call_id: str) -> CallDraft:
        draft = CallDraft(id=call_id, name="", arguments="")
        self.drafts.append(draft)
        return draft


def _is_another(current: CallDraft, call_id: str, name: str) -> bool:
    """Whether a piece at an index in use starts a new call there.

    A different id does. So does a second name without any id: a piece that only goes on with a call
    carries neither.
    """
    if call_id and current.id:
        return call_id != current.id
    return bool(name and current.name and current.arguments.strip())


def _as_text(arguments: Any) -> str:
    """Arguments as text; some servers send an object instead of its JSON."""
    if arguments is None:
        return ""
    if isinstance(arguments, str):
        return arguments
    import json  # noqa: PLC0415 - only for servers that leave the protocol

    return json.dumps(arguments)


def drafts_of_message(tool_calls: Any) -> list[CallDraft]:
    """Drafts of the tool calls of a whole (not streamed) litellm message."""
    drafts = []
    for call in tool_calls or ():
        function = getattr(call, "function", None)
        drafts.append(
            CallDraft(
                id=getattr(call, "id", None) or "",
                name=getattr(function, "name", None) or "",
                arguments=_as_text(getattr(function, "arguments", None)),
            )
        )
    return drafts


def usage_of(usage: Any) -> Usage | None:
    """Usage as litellm reports it, as ours; None when there is none or it says nothing.

    `prompt_tokens` of litellm includes cache reads and writes for every provider, Anthropic too.
    """
    prompt = _count(usage, "prompt_tokens")
    completion = _count(usage, "completion_tokens")
    if prompt == 0 and completion == 0:
        return None
    details = getattr(usage, "prompt_tokens_details", None)
    read = _count(usage, "cache_read_input_tokens") or _count(details, "cached_tokens")
    created = _count(usage, "cache_creation_input_tokens") or _count(details, "cache_creation_tokens")
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=_count(usage, "total_tokens") or prompt + completion,
        cache_read_tokens=read,
        cache_creation_tokens=created,
    )


def _merged(known: Usage | None, new: Usage) -> Usage:
    """Anthropic counts the prompt at the beginning of a stream and the answer at its end."""
    if known is None:
        return new
    prompt = max(known.prompt_tokens, new.prompt_tokens)
    completion = max(known.completion_tokens, new.completion_tokens)
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=max(prompt + completion, new.total_tokens),
        cache_read_tokens=max(known.cache_read_tokens, new.cache_read_tokens),
        cache_creation_tokens=max(known.cache_creation_tokens, new.cache_creation_tokens),
    )


def _count(source: Any, name: str) -> int:
    value = getattr(source, name, None)
    return value if isinstance(value, int) and value > 0 else 0
