"""A model client of a loopback server, and what it tells its listeners."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from ml_intern.llm.client import ModelClient
from ml_intern.llm.model_settings import ModelSettings

if TYPE_CHECKING:
    from ml_intern.llm.reply import Reply
    from ml_intern.tests.bench.model_server import ModelServer

USER: dict[str, Any] = {"role": "user", "content": "Hello"}
TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": f"Does {name}.",
            "parameters": {
                "type": "object",
                "properties": {"path": {"type": "string"}, "strict": {"type": "boolean"}},
                "required": ["path"],
                "additionalProperties": False,
            },
        },
    }
    for name in ("read", "write")
]
BOTH = pytest.mark.parametrize("model", ["openai/gpt-x", "anthropic/claude-x"])
EVERY = pytest.mark.parametrize(
    "model", ["openai/gpt-x", "anthropic/claude-x", "huggingface/org/m", "vllm/m"]
)


@dataclass
class Heard:
    """What a call told its listeners."""

    text: list[str] = field(default_factory=list)
    discarded: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


@dataclass
class Caller:
    """A client of one server and what it said."""

    client: ModelClient
    heard: Heard

    async def __call__(
        self,
        messages: list[dict[str, Any]] | None = None,
        tools: list[dict[str, Any]] | None = None,
        *,
        stream: bool = True,
        **more: Any,
    ) -> Reply:
        try:
            return await self.client.complete(
                messages or [USER],
                tools,
                stream=stream,
                on_text=self.heard.text.append,
                on_discard=self.heard.discarded.append,
                on_notice=self.heard.notices.append,
                **more,
            )
        finally:
            await self.client.close()


def caller(server: ModelServer, model: str, **settings: Any) -> Caller:
    env = {
        "OPENAI_API_KEY": "sk-secret-of-openai",
        "ANTHROPIC_API_KEY": "sk-ant-secret-of-anthropic",
        "HF_TOKEN": "hf_secretofhuggingface",
        "OPENAI_BASE_URL": server.base_url,
        "ANTHROPIC_BASE_URL": server.root_url,
        "HF_ROUTER_URL": server.base_url,
        "VLLM_BASE_URL": server.root_url,
    }
    quick: dict[str, Any] = {"backoff_s": 0.01, "rate_limit_backoff_s": 0.01, "env": env}
    return Caller(ModelClient(model, ModelSettings(**{**quick, **settings})), Heard())
