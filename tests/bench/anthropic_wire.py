"""Anthropic's messages as a server speaks them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from . import anthropic_rules
from .wire import Answer, Refusal, bearer, count_tokens, pieces

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .script import Json, Script

USUAL: dict[int, tuple[str, str]] = {
    400: ("invalid_request_error", "Invalid request."),
    401: ("authentication_error", "invalid x-api-key"),
    403: ("permission_error", "Your API key does not have permission to use the specified resource."),
    404: ("not_found_error", "Not Found"),
    413: ("request_too_large", "Request exceeds the maximum size"),
    429: (
        "rate_limit_error",
        "This request would exceed your organization's rate limit. Please try again later.",
    ),
    500: ("api_error", "Internal server error"),
    529: ("overloaded_error", "Overloaded"),
}
"""Status -> the usual type and message."""

STOP_REASONS = {
    "stop": "end_turn",
    "tool_calls": "tool_use",
    "length": "max_tokens",
    "content_filter": "refusal",
}
USAGE_KEYS = {"prompt_tokens": "input_tokens", "completion_tokens": "output_tokens"}
SIGNATURE = "c2NyaXB0ZWQ="


class AnthropicWire:
    """`POST /v1/messages`."""

    def check(self, request: Json, headers: Mapping[str, str], script: Script) -> int:
        """Token count of a request in order; a Refusal in Anthropic's words for any other."""
        key = headers.get("x-api-key") or bearer(headers)
        if script.require_key and key != script.require_key:
            raise Refusal(401, self.refusal(401, None if key else "x-api-key header is required"))
        if script.validate and "anthropic-version" not in headers:
            raise Refusal(400, self.refusal(400, "anthropic-version: header is required"))
        model = request.get("model")
        if script.models and model not in script.model_ids:
            raise Refusal(404, self.refusal(404, f"model: {model}"))
        if script.validate and (wrong := anthropic_rules.first_violation(request)):
            raise Refusal(400, self.refusal(400, wrong))
        tokens = count_tokens(request)
        if script.context_tokens is not None and tokens > script.context_tokens:
            text = f"prompt is too long: {tokens} tokens > {script.context_tokens} maximum"
            raise Refusal(400, self.refusal(400, text))
        return tokens

    def refusal(self, status: int, error: Json | str | None) -> Json:
        """Body of an error answer."""
        if isinstance(error, dict):
            return error
        kind, message = USUAL.get(status, USUAL[400 if status < 500 else 500])
        return {
            "type": "error",
            "error": {"type": kind, "message": error or message},
            "request_id": "req_scripted",
        }

    def whole(self, answer: Answer) -> Json:
        """The `message` object."""
        message = _message(answer)
        message["content"] = [block for block, _ in _blocks(answer)]
        message["stop_reason"] = None if answer.step.no_finish_reason else _stop_reason(answer)
        message["usage"] = _usage(answer)
        if answer.step.no_usage:
            del message["usage"]
        return message

    def events(self, answer: Answer) -> list[bytes]:
        """All events from `message_start` to `message_stop`."""
        start = {**_message(answer), "content": [], "stop_reason": None}
        usage = _usage(answer)
        start["usage"] = {**usage, "output_tokens": 1}
        sent = [_event("message_start", {"message": start})]
        for index, (block, deltas) in enumerate(_blocks(answer)):
            sent += _block_events(index, block, deltas)
            if index == 0:
                sent.insert(2, _event("ping", {}))
        if answer.step.no_finish_reason:
            return sent
        end: Json = {"delta": {"stop_reason": _stop_reason(answer), "stop_sequence": None}}
        if not answer.step.no_usage:
            end["usage"] = usage
        return [*sent, _event("message_delta", end), _event("message_stop", {})]

    def error_event(self, error: Json | str | None) -> bytes:
        """The `error` event; an overload unless told otherwise."""
        body = self.refusal(529, error)
        return _event("error", {"error": body.get("error", body)})


def _message(answer: Answer) -> Json:
    return {
        "id": f"msg_{answer.number:06d}",
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "stop_sequence": None,
    }


def _stop_reason(answer: Answer) -> str:
    return STOP_REASONS.get(answer.step.reason, answer.step.reason)


def _usage(answer: Answer) -> Json:
    given = {USAGE_KEYS.get(key, key): value for key, value in (answer.step.usage or {}).items()}
    return {
        "input_tokens": answer.prompt_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": answer.completion_tokens,
        **given,
    }


def _blocks(answer: Answer) -> Iterator[tuple[Json, list[Json]]]:
    """Each content block, complete, with the deltas that build it up."""
    step = answer.step
    if step.reasoning:
        deltas = [{"type": "thinking_delta", "thinking": p} for p in pieces(step.reasoning, step.chunk_chars)]
        deltas.append({"type": "signature_delta", "signature": SIGNATURE})
        yield {"type": "thinking", "thinking": step.reasoning, "signature": SIGNATURE}, deltas
    if step.text:
        deltas = [{"type": "text_delta", "text": piece} for piece in pieces(step.text, step.chunk_chars)]
        yield {"type": "text", "text": step.text}, deltas
    for place, call in enumerate(step.calls):
        parts = ["", *pieces(call.text, step.chunk_chars)]
        block = {"type": "tool_use", "id": answer.call_id("toolu", place), "name": call.name}
        deltas = [{"type": "input_json_delta", "partial_json": part} for part in parts]
        yield {**block, "input": _input(call.text)}, deltas


def _input(text: str) -> Any:
    try:
        return json.loads(text or "{}")
    except ValueError:
        return text


def _block_events(index: int, block: Json, deltas: list[Json]) -> Iterator[bytes]:
    emptied: dict[str, Json] = {
        "text": {"text": ""},
        "thinking": {"thinking": "", "signature": ""},
        "tool_use": {"input": {}},
    }
    start = {**block, **emptied[block["type"]]}
    yield _event("content_block_start", {"index": index, "content_block": start})
    for delta in deltas:
        yield _event("content_block_delta", {"index": index, "delta": delta})
    yield _event("content_block_stop", {"index": index})


def _event(name: str, data: Json) -> bytes:
    text = json.dumps({"type": name, **data}, separators=(",", ":"))
    return f"event: {name}\ndata: {text}\n\n".encode()
