"""The arguments of one litellm call."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from .cache_markers import mark
from .outgoing import outgoing
from .routes import OPENAI_URL

if TYPE_CHECKING:
    from .model_settings import ModelSettings
    from .routes import Route

_ANTHROPIC_OUTPUT_TOKENS = 32_000
"""Anthropic wants a limit; litellm's for a model it does not know is 4,096, which cuts every long file."""
_ANTHROPIC_MOST_TOKENS = 64_000
_ROUTER_EFFORTS = {
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "high",
    "max": "high",
}
_HF_SESSION_CHARS = 256


def request_arguments(  # noqa: PLR0913 - each is one fact of the call
    litellm: Any,
    route: Route,
    settings: ModelSettings,
    messages: list[dict[str, Any]],
    tools: list[dict[str, Any]] | None,
    *,
    stream: bool,
    effort: str | None,
    thinking: bool,
    images: bool,
    max_tokens: int | None,
    tool_choice: str | None,
) -> dict[str, Any]:
    """Everything `litellm.acompletion` gets but the connection."""
    sent = outgoing(messages, route, images=images, thinking=thinking)
    # litellm edits tool schemas in place on some routes.
    sent_tools = json.loads(json.dumps(tools)) if tools else None
    if route.anthropic:
        sent, sent_tools = mark(sent, sent_tools)
    arguments = {
        **route.arguments(),
        **_reasoning(route, effort),
        **_caching(route, settings),
        "messages": sent,
        "stream": stream,
        "timeout": settings.timeout_s,
        "max_retries": 0,
        "num_retries": 0,
        "drop_params": True,
    }
    if stream:
        arguments["stream_options"] = {"include_usage": True}
    if sent_tools:
        arguments["tools"] = sent_tools
        if tool_choice is not None:
            arguments["tool_choice"] = tool_choice
    if route.provider == "anthropic" and max_tokens is None:
        max_tokens = _output_limit(litellm, route)
    if max_tokens is not None:
        arguments["max_tokens"] = max_tokens
    return arguments


def sends_effort(route: Route, effort: str | None) -> bool:
    """Whether a request of this route would carry the effort; local servers know none."""
    return bool(effort) and not (route.local and route.provider not in {"openai", "anthropic", "huggingface"})


def _reasoning(route: Route, effort: str | None) -> dict[str, Any]:
    if not effort or not sends_effort(route, effort):
        return {}
    if route.provider == "huggingface":
        # litellm does not know the router's models and would drop the parameter.
        return {"extra_body": {"reasoning_effort": _ROUTER_EFFORTS.get(effort, effort)}}
    arguments: dict[str, Any] = {"reasoning_effort": effort}
    if route.provider == "openai":
        arguments["allowed_openai_params"] = ["reasoning_effort"]
        if route.api_base != OPENAI_URL:
            # litellm moves tools with an effort to OpenAI's /responses, which other servers lack.
            arguments["_skip_responses_api_bridge"] = True
    return arguments


def _caching(route: Route, settings: ModelSettings) -> dict[str, Any]:
    session = settings.session_id
    if not session:
        return {}
    if route.provider == "openai" and route.api_base == OPENAI_URL:
        return {"prompt_cache_key": session}
    if route.provider == "huggingface":
        return {"extra_headers": {"X-HF-Session-id": session[:_HF_SESSION_CHARS]}}
    return {}


def _output_limit(litellm: Any, route: Route) -> int:
    entry = litellm.model_cost.get(route.model_id.partition("/")[2]) or {}
    known = entry.get("max_output_tokens")
    return (
        min(known, _ANTHROPIC_MOST_TOKENS) if isinstance(known, int) and known else _ANTHROPIC_OUTPUT_TOKENS
    )
