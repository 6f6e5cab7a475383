"""Refusals in the words of providers, and what they are taken for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ml_intern.llm.effort import next_lower
from ml_intern.llm.failures import Failure, classify
from ml_intern.llm.model_settings import ModelSettings
from ml_intern.llm.remedies import error_for
from ml_intern.llm.routes import resolve
from ml_intern.llm.wire import Connection, Refused, StreamFault, Wire

SETTINGS = ModelSettings(env={"OPENAI_API_KEY": "sk-proj-abcdef123456", "HF_TOKEN": "hf_abcdef123456"})


def refused(
    status: int, body: Any, headers: dict[str, str] | None = None, *, effort: bool = False
) -> Failure:
    wire = Wire(Connection(SETTINGS, local=False), SETTINGS, stall_s=1)
    text = body if isinstance(body, str) else json.dumps(body)
    wire.refused = Refused(status, headers or {}, text)
    return classify(RuntimeError("litellm's own words: 429 500"), wire, effort_sent=effort)


def message(text: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": text, **more}}


@pytest.mark.parametrize(
    ("status", "body", "limit"),
    [
        (
            400,
            message(
                "This model's maximum context length is 128000 tokens. However, your messages had"
                " 130001 tokens.",
                code="context_length_exceeded",
            ),
            128_000,
        ),
        (
            400,
            {
                "object": "error",
                "message": "This model's maximum context length is 4096 tokens. However, you"
                " requested 5000 tokens.",
                "type": "BadRequestError",
                "code": 400,
            },
            4096,
        ),
        (
            400,
            message("The decoder prompt (length 5000) is longer than the maximum model length of 4096."),
            4096,
        ),
        (
            400,
            message(
                "the request exceeds the available context size (8192 tokens), try increasing it",
                type="exceed_context_size_error",
                n_ctx=8192,
            ),
            8192,
        ),
        (
            400,
            {
                "type": "error",
                "error": {
                    "type": "invalid_request_error",
                    "message": "prompt is too long: 208310 tokens > 200000 maximum",
                },
            },
            200_000,
        ),
        (
            400,
            {
                "type": "error",
                "error": {
                    "type": "invalid_request_error",
                    "message": "input length and `max_tokens`"
                    " exceed context limit: 190000 + 20000 > 200000, decrease input length",
                },
            },
            200_000,
        ),
        (
            413,
            {
                "type": "error",
                "error": {"type": "request_too_large", "message": "Request exceeds the maximum size"},
            },
            None,
        ),
        (
            400,
            message(
                "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."
            ),
            1_048_576,
        ),
        (
            422,
            {"error": "Input validation error: `inputs` must have less than 4095 tokens. Given: 5000"},
            4095,
        ),
        (
            429,
            message(
                "Request too large for gpt-x on tokens per min (TPM): Limit 30000, Requested 50000.",
                code="rate_limit_exceeded",
            ),
            30_000,
        ),
        (
            400,
            message(
                "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum "
                "context length"
            ),
            32_768,
        ),
    ],
)
def test_every_wording_of_a_too_long_request(status: int, body: Any, limit: int | None) -> None:
    failure = refused(status, body)
    assert failure.kind == "overflow"
    assert failure.limit_tokens == limit


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, message("Incorrect API key provided"), "auth"),
        (403, message("This authentication method does not have sufficient permissions"), "permission"),
        (404, message("The model `x` does not exist", code="model_not_found"), "unknown_model"),
        (400, message("The requested model 'x' does not exist", code="model_not_found"), "unknown_model"),
        (
            400,
            message("The requested model 'x' is not supported by any provider you have enabled."),
            "unknown_model",
        ),
        (404, '{"error":"model \\"x\\" not found, try pulling it first"}', "unknown_model"),
        (402, message("You have exceeded your monthly included credits"), "credit"),
        (400, message("Your credit balance is too low to access the Anthropic API."), "credit"),
        (429, message("You exceeded your current quota", code="insufficient_quota"), "credit"),
        (429, message("Too many tokens, please slow down"), "rate_limit"),
        (529, message("Overloaded", type="overloaded_error"), "transient"),
        (500, "", "transient"),
        (408, "", "transient"),
        (
            400,
            message("Your request was rejected by our safety system", code="content_policy_violation"),
            "content_policy",
        ),
        (400, message("max_tokens: 15000 > 8192, which is the most this model gives"), "refused"),
        (400, message("tools.0.name: 500 is no name; 4296 characters"), "refused"),
        (501, message("not implemented"), "refused"),
    ],
)
def test_the_status_decides_before_the_words(status: int, body: Any, kind: str) -> None:
    assert refused(status, body).kind == kind


@pytest.mark.parametrize(
    ("payload", "kind"),
    [
        ({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, "transient"),
        ({"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}}, "rate_limit"),
        ({"error": {"message": "CUDA out of memory", "code": 500}}, "transient"),
        ({"error": {"message": "bad tool", "code": 400}}, "refused"),
        ({"error": "something broke"}, "transient"),
        ("half an event", "transient"),
    ],
)
def test_an_error_inside_a_stream_has_its_kind_too(payload: Any, kind: str) -> None:
    assert classify(StreamFault(payload), None, effort_sent=False).kind == kind


def test_effort_is_blamed_only_when_it_was_sent() -> None:
    body = message("Unsupported value: 'xhigh'", param="reasoning_effort")
    assert refused(400, body, effort=True).kind == "effort"
    assert refused(400, body).kind == "refused"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after-ms": "1500"}, 1.5),
        ({}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry-after": "-3"}, 0.0),
    ],
)
def test_retry_after_is_read_in_every_form(headers: dict[str, str], seconds: float | None) -> None:
    assert refused(429, "", headers).retry_after_s == seconds


@pytest.mark.parametrize(
    ("effort", "complaint", "lower"),
    [
        ("max", "must be one of low, medium, high", "xhigh"),
        ("high", "Unsupported value", "medium"),
        ("minimal", "Unsupported value", "low"),
        ("low", "Unsupported value", None),
        ("high", "reasoning_effort is not supported with this model", None),
    ],
)
def test_effort_goes_down_one_level_or_away(effort: str, complaint: str, lower: str | None) -> None:
    assert next_lower(effort, complaint) == lower


@pytest.mark.parametrize(
    ("kind", "needed"),
    [
        ("auth", "OPENAI_API_KEY"),
        ("unknown_model", "-m"),
        ("credit", "credit"),
        ("unreachable", "https://api.openai.com/v1"),
        ("content_policy", "content policy"),
        ("refused", "openai/gpt-x"),
    ],
)
def test_each_error_is_one_line_without_secrets(kind: Any, needed: str) -> None:
    route = resolve("openai/gpt-x", SETTINGS)
    detail = f"key sk-proj-abcdef123456 and Bearer hf_zzzzzzzzzz\nand sk-ant-api03-zz9 {'blah ' * 200}"
    text = str(error_for(Failure(kind, detail), route, tries=4))
    assert needed in text
    assert "abcdef" not in text
    assert "zz" not in text
    assert "\n" not in text
    assert len(text) < 520


def test_the_suffix_of_a_router_model_is_suspected() -> None:
    route = resolve("huggingface/org/m:novita", SETTINGS)
    assert ":provider" in str(error_for(Failure("unknown_model", ""), route, tries=1))
    assert "hf_abcdef" not in repr(route)


class RateLimitError(Exception):
    """As litellm raises it on routes whose HTTP is its own."""

    status_code = 429

    def __init__(self) -> None:
        body = {"error": {"message": "Slow down", "code": "rate_limit_exceeded"}}
        self.message = f"litellm.RateLimitError: OpenAIException - {json.dumps(body)}"
        self.litellm_response_headers = {"Retry-After": "3"}
        super().__init__(self.message)


def test_an_error_of_litellm_is_read_for_what_the_provider_said() -> None:
    assert classify(RateLimitError(), None, effort_sent=False) == Failure("rate_limit", "Slow down", 429, 3.0)


def test_the_error_inside_a_mid_stream_error_counts() -> None:
    wrapped = RuntimeError("litellm.MidStreamFallbackError")
    wrapped.original_exception = RateLimitError()  # type: ignore[attr-defined]
    assert classify(wrapped, None, effort_sent=False).kind == "rate_limit"


def test_what_nobody_can_name_is_not_tried_again() -> None:
    assert classify(TypeError("no such argument"), None, effort_sent=False).kind == "refused"
