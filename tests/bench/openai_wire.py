"""OpenAI's chat completions as a server speaks them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from . import openai_rules
from .wire import Answer, Refusal, bearer, count_tokens, pieces

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .script import Json, Script

USUAL: dict[int, tuple[str, str, str | None]] = {
    400: ("Invalid request.", "invalid_request_error", None),
    401: (
        "Incorrect API key provided: {key}. You can find your API key at "
        "https://platform.openai.com/account/api-keys.",
        "invalid_request_error",
        "invalid_api_key",
    ),
    403: ("You are not allowed to use this model.", "invalid_request_error", "permission_denied"),
    404: (
        "The model `{model}` does not exist or you do not have access to it.",
        "invalid_request_error",
        "model_not_found",
    ),
    429: (
        "Rate limit reached for this model in your organization on requests per min (RPM): "
        "Limit 3, Used 3, Requested 1. Please try again in 1s.",
        "requests",
        "rate_limit_exceeded",
    ),
    500: (
        "The server had an error while processing your request. Sorry about that!",
        "server_error",
        None,
    ),
    502: ("Bad gateway.", "server_error", None),
    503: ("The engine is currently overloaded, please try again later.", "server_error", None),
}
"""Status -> the usual message, type and code."""


class OpenAIWire:
    """`POST /v1/chat/completions`."""

    def check(self, request: Json, headers: Mapping[str, str], script: Script) -> int:
        """Token count of a request in order; a Refusal in OpenAI's words for any other."""
        key = bearer(headers)
        if script.require_key and key != script.require_key:
            raise Refusal(401, _unauthorized(key))
        model = request.get("model")
        if script.models and model not in script.model_ids:
            message, kind, code = USUAL[404]
            raise Refusal(404, frame(message.format(model=model), kind, code=code))
        if script.validate and (wrong := openai_rules.first_violation(request)):
            raise Refusal(
                400, frame(wrong.message, "invalid_request_error", param=wrong.param, code=wrong.code)
            )
        tokens = count_tokens(request)
        if script.context_tokens is not None and tokens > script.context_tokens:
            raise Refusal(400, _overflow(script.overflow_wording, tokens, script.context_tokens))
        return tokens

    def refusal(self, status: int, error: Json | str | None) -> Json:
        """Body of an error answer."""
        if isinstance(error, dict):
            return error
        message, kind, code = USUAL.get(status, USUAL[400 if status < 500 else 500])
        return frame(error or message.format(key="sk-***", model="?"), kind, code=code)

    def whole(self, answer: Answer) -> Json:
        """The `chat.completion` object."""
        step = answer.step
        message: Json = {"role": "assistant", "content": step.text or None, "refusal": None}
        if step.reasoning:
            message["reasoning_content"] = step.reasoning
        if step.tool_calls:
            message["tool_calls"] = [_call(answer, place) for place in range(len(step.tool_calls))]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _reason(answer)}
        body = {**_head(answer, "chat.completion"), "choices": [choice]}
        return body if step.no_usage else {**body, "usage": _usage(answer)}

    def events(self, answer: Answer) -> list[bytes]:
        """The `chat.completion.chunk` events."""
        step = answer.step
        with_usage = bool((answer.request.get("stream_options") or {}).get("include_usage"))
        head = _head(answer, "chat.completion.chunk")
        if with_usage:
            head["usage"] = None
        sent = [_chunk(head, delta) for delta in _deltas(answer)]
        if not step.no_finish_reason:
            sent.append(_chunk(head, {}, step.reason))
        if with_usage and not step.no_usage:
            sent.append(_event({**head, "choices": [], "usage": _usage(answer)}))
        if not step.no_done:
            sent.append(b"data: [DONE]\n\n")
        return sent

    def error_event(self, error: Json | str | None) -> bytes:
        """An error object in place of a chunk."""
        return _event(self.refusal(500, error))


def frame(message: str, kind: str, *, param: str | None = None, code: str | int | None = None) -> Json:
    """OpenAI's error body."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _unauthorized(key: str) -> Json:
    if not key:
        text = (
            "You didn't provide an API key. You need to provide your API key in an Authorization header "
            "using Bearer auth (i.e. Authorization: Bearer YOUR_KEY)."
        )
        return frame(text, "invalid_request_error")
    message, kind, code = USUAL[401]
    return frame(message.format(key=f"{key[:3]}***{key[-2:]}"), kind, code=code)


def _overflow(wording: str, tokens: int, limit: int) -> Json:
    if wording == "vllm":
        text = (
            f"This model's maximum context length is {limit} tokens. However, your request has {tokens} "
            "input tokens. Please reduce the length of the input messages."
        )
        return frame(text, "BadRequestError", code=400)
    if wording == "llamacpp":
        text = (
            f"request ({tokens} tokens) exceeds the available context size ({limit} tokens), "
            "try increasing it"
        )
        kind = "exceed_context_size_error"
        return {
            "error": {"code": 400, "message": text, "type": kind, "n_prompt_tokens": tokens, "n_ctx": limit}
        }
    text = (
        f"This model's maximum context length is {limit} tokens. However, your messages resulted in {tokens} "
        "tokens. Please reduce the length of the messages."
    )
    return frame(text, "invalid_request_error", param="messages", code="context_length_exceeded")


def _reason(answer: Answer) -> str | None:
    return None if answer.step.no_finish_reason else answer.step.reason


def _head(answer: Answer, kind: str) -> Json:
    # A fixed time: the same script gives the same bytes.
    return {
        "id": f"chatcmpl-{answer.number:06d}",
        "object": kind,
        "created": 1_700_000_000,
        "model": answer.model,
        "system_fingerprint": "fp_scripted",
    }


def _usage(answer: Answer) -> Json:
    usage = {
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": len(answer.step.reasoning) // 4},
        **(answer.step.usage or {}),
    }
    usage.setdefault("total_tokens", usage["prompt_tokens"] + usage["completion_tokens"])
    return usage


def _call(answer: Answer, place: int) -> Json:
    call = answer.step.calls[place]
    function = {"name": call.name, "arguments": call.text}
    return {"id": answer.call_id("call", place), "type": "function", "function": function}


def _deltas(answer: Answer) -> Iterator[Json]:
    step = answer.step
    yield {"role": "assistant", "content": None if step.tool_calls and not step.text else ""}
    for piece in pieces(step.reasoning, step.chunk_chars):
        yield {"reasoning_content": piece}
    for piece in pieces(step.text, step.chunk_chars):
        yield {"content": piece}
    places = range(len(step.tool_calls))
    if step.same_chunk:
        yield {"tool_calls": [{**_index(answer, place), **_call(answer, place)} for place in places]}
        return
    for place in places:
        call = _call(answer, place)
        arguments = call["function"]["arguments"]
        call["function"]["arguments"] = ""
        yield {"tool_calls": [{**_index(answer, place), **call}]}
        for piece in pieces(arguments, step.chunk_chars):
            yield {"tool_calls": [{**_index(answer, place), "function": {"arguments": piece}}]}


def _index(answer: Answer, place: int) -> Json:
    if answer.step.no_index:
        return {}
    return {"index": 0 if answer.step.index_zero else place}


def _chunk(head: Json, delta: Json, finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    return _event({**head, "choices": [choice]})


def _event(data: Any) -> bytes:
    return b"data: " + json.dumps(data, separators=(",", ":")).encode() + b"\n\n"
