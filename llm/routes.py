"""From a model id to the request litellm should make: provider, base URL, key.

Measured with litellm 1.105.3, from the call to the moment a request of 600 messages (0.7 MB) leaves, on
two busy cores: `openai/` as it comes 140-170 ms (the OpenAI SDK transforms the history recursively),
`custom_openai/` the same, `openai/` with EXPERIMENTAL_OPENAI_BASE_LLM_HTTP_HANDLER 15 ms, `hosted_vllm/`
14 ms, `huggingface/` 17 ms, `anthropic/` 22 ms. Everything that speaks OpenAI's protocol therefore goes
through `openai/` with that switch (set in loading.py); `hosted_vllm/` is no faster and deletes `strict` and
`additionalProperties` from the tool schemas it is given, a *parameter* named `strict` included.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .model_settings import ModelSettings

HF_ROUTER_URL = "https://router.huggingface.co/v1"
OPENAI_URL = "https://api.openai.com/v1"
ANTHROPIC_URL = "https://api.anthropic.com"

NO_KEY = "not-needed"
"""What a local endpoint without a key is sent."""


@dataclass(frozen=True, slots=True)
class _Local:
    """Where one kind of local server listens, and the variables that say otherwise."""

    base: str
    variable: str


LOCAL: dict[str, _Local] = {
    "ollama": _Local("http://localhost:11434", "OLLAMA"),
    "vllm": _Local("http://localhost:8000", "VLLM"),
    "lm_studio": _Local("http://127.0.0.1:1234", "LMSTUDIO"),
    "llamacpp": _Local("http://localhost:8080", "LLAMACPP"),
}

PROVIDER_KEYS: dict[str, tuple[str, ...]] = {
    "anthropic": ("ANTHROPIC_API_KEY",),
    "openai": ("OPENAI_API_KEY",),
    "huggingface": ("HF_TOKEN",),
    "azure": ("AZURE_API_KEY",),
    "cerebras": ("CEREBRAS_API_KEY",),
    "cohere": ("COHERE_API_KEY",),
    "dashscope": ("DASHSCOPE_API_KEY",),
    "deepinfra": ("DEEPINFRA_API_KEY",),
    "deepseek": ("DEEPSEEK_API_KEY",),
    "fireworks_ai": ("FIREWORKS_API_KEY", "FIREWORKS_AI_API_KEY"),
    "gemini": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    "github": ("GITHUB_API_KEY",),
    "groq": ("GROQ_API_KEY",),
    "hyperbolic": ("HYPERBOLIC_API_KEY",),
    "minimax": ("MINIMAX_API_KEY",),
    "mistral": ("MISTRAL_API_KEY",),
    "moonshot": ("MOONSHOT_API_KEY",),
    "nebius": ("NEBIUS_API_KEY",),
    "novita": ("NOVITA_API_KEY",),
    "nvidia_nim": ("NVIDIA_NIM_API_KEY",),
    "openrouter": ("OPENROUTER_API_KEY",),
    "perplexity": ("PERPLEXITYAI_API_KEY", "PERPLEXITY_API_KEY"),
    "replicate": ("REPLICATE_API_KEY", "REPLICATE_API_TOKEN"),
    "sambanova": ("SAMBANOVA_API_KEY",),
    "together_ai": ("TOGETHERAI_API_KEY", "TOGETHER_AI_TOKEN", "TOGETHER_API_KEY"),
    "xai": ("XAI_API_KEY",),
    "zai": ("ZAI_API_KEY",),
}
"""litellm provider -> the variables its key may stand in; the first one set counts."""

OWN_CREDENTIALS = frozenset(
    {"bedrock", "bedrock_converse", "sagemaker", "sagemaker_chat", "vertex_ai", "vertex_ai_beta", "watsonx"}
    | {"databricks", "snowflake", "oci", "github_copilot", "chatgpt", "scripted"}
)
"""Providers that find credentials of several parts by themselves, or need none."""


_OWN_HTTP = frozenset({"azure", "cohere", "gemini", "replicate", "huggingface"})
"""Providers whose protocol is their own, or whose handler takes no client of ours."""


@dataclass(frozen=True, slots=True)
class Route:
    """How one model is reached. Holds a credential: never print or store it."""

    model_id: str
    provider: str
    """Ours: `anthropic`, `openai`, `huggingface`, a local prefix, or litellm's name of the provider."""
    litellm_model: str
    api_base: str | None
    """None: litellm's own default for the provider."""
    api_key: str | None
    key_variable: str | None
    """Where the key was found, for messages."""
    local: bool
    """Runs on this machine or in its network: free, and perhaps slow to begin."""

    @property
    def our_wire(self) -> bool:
        """Whether litellm posts through a client it is given (tried with each provider on loopback)."""
        provider = self.litellm_model.partition("/")[0]
        return provider in PROVIDER_KEYS and provider not in _OWN_HTTP

    @property
    def anthropic(self) -> bool:
        """Whether the model takes Anthropic's cache markers and wants its thinking blocks back."""
        name = self.model_id.lower()
        return self.provider == "anthropic" or (
            "claude" in name and self.provider in {"bedrock", "vertex_ai", "openrouter", "huggingface"}
        )

    @property
    def origin(self) -> str:
        """The endpoint, for messages."""
        return self.api_base or f"the {self.provider} API"

    def arguments(self) -> dict[str, Any]:
        """Where to and with which key, as arguments of litellm.

        Always explicit: litellm would else look in the process environment, and could send one
        provider's key to another's base URL.
        """
        arguments: dict[str, Any] = {"model": self.litellm_model}
        if self.api_base is not None:
            arguments["api_base"] = self.api_base
        if self.api_key is not None:
            arguments["api_key"] = self.api_key
        return arguments

    def __repr__(self) -> str:
        return f"Route({self.model_id!r} -> {self.litellm_model!r} at {self.origin})"


def split_id(model_id: str) -> tuple[str, str]:
    """Provider and the provider's own name of the model.

    A bare `org/name` whose first part is no provider we know belongs to the Hugging Face router.

    Raises:
        UserError: The id has no form a model id can have.
    """
    provider, slash, name = model_id.partition("/")
    if not slash or not provider or not name or name.startswith("/") or any(c.isspace() for c in model_id):
        raise UserError(
            f"{model_id!r} is no model id: use anthropic/NAME, openai/NAME, huggingface/ORG/NAME, "
            f"{', '.join(f'{prefix}/NAME' for prefix in LOCAL)}, or another litellm provider's PROVIDER/NAME."
        )
    if provider in LOCAL or provider in PROVIDER_KEYS or provider in OWN_CREDENTIALS:
        if provider == "huggingface" and "/" not in name:
            raise UserError(f"{model_id!r} lacks the organisation: use huggingface/ORG/NAME.")
        return provider, name
    return "huggingface", model_id


def is_local(model_id: str) -> bool:
    """Whether the id names a server on this machine or in its network, which needs no token."""
    return model_id.partition("/")[0] in LOCAL


def is_loopback(url: str | None) -> bool:
    """Whether the URL points at this machine."""
    host = (urlsplit(url).hostname or "") if url else ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def resolve(model_id: str, settings: ModelSettings) -> Route:
    """The route of a model.

    Raises:
        UserError: The id is none, or the key it needs is missing; the text names the variable.
    """
    provider, name = split_id(model_id)
    env = settings.env
    if provider in LOCAL:
        return _local_route(model_id, provider, name, env)
    base = base_url(provider, env)
    variable, key = _key(provider, env)
    if key is None and provider in PROVIDER_KEYS:
        if not is_loopback(base):
            raise UserError(missing_key(model_id, provider))
        key = NO_KEY  # an emulator on this machine asks for none
    prefix = {"huggingface": "openai"}.get(provider, provider)
    return Route(
        model_id=model_id,
        provider=provider,
        litellm_model=f"{prefix}/{name}",
        api_base=base,
        api_key=key,
        key_variable=variable,
        local=is_loopback(base),
    )


def missing_key(model_id: str, provider: str) -> str:
    """The line for a person who lacks a key."""
    names = " or ".join(PROVIDER_KEYS[provider])
    return (
        f"{model_id} needs a key: set {names}, or choose another model with -m (ml-intern models lists them)."
    )


def base_url(provider: str, env: Mapping[str, str]) -> str | None:
    """Base URL of a hosted provider as the environment has it; None leaves litellm's default."""
    if provider == "huggingface":
        return _with_v1(env["HF_ROUTER_URL"]) if env.get("HF_ROUTER_URL") else HF_ROUTER_URL
    if provider == "openai":
        return (env.get("OPENAI_BASE_URL") or env.get("OPENAI_API_BASE") or OPENAI_URL).rstrip("/")
    if provider == "anthropic":
        url = env.get("ANTHROPIC_BASE_URL") or env.get("ANTHROPIC_API_BASE") or ANTHROPIC_URL
        return url.rstrip("/").removesuffix("/v1")
    stem = provider.upper()
    return env.get(f"{stem}_API_BASE") or env.get(f"{stem}_BASE_URL") or None


def _key(provider: str, env: Mapping[str, str]) -> tuple[str | None, str | None]:
    names = PROVIDER_KEYS.get(provider, ())
    for name in names:
        if value := env.get(name, "").strip():
            return name, value
    return (names[0] if names else None), None


def _local_route(model_id: str, provider: str, name: str, env: Mapping[str, str]) -> Route:
    """A local server's own variables win over LOCAL_LLM_*, those over where it listens by default."""
    local = LOCAL[provider]
    base = env.get(f"{local.variable}_BASE_URL") or env.get("LOCAL_LLM_BASE_URL") or local.base
    key = env.get(f"{local.variable}_API_KEY") or env.get("LOCAL_LLM_API_KEY") or NO_KEY
    return Route(
        model_id=model_id,
        provider=provider,
        litellm_model=f"openai/{name}",
        api_base=_with_v1(base),
        api_key=key,
        key_variable=f"{local.variable}_API_KEY",
        local=True,
    )


def _with_v1(url: str) -> str:
    url = url.rstrip("/")
    return url if url.endswith("/v1") else f"{url}/v1"
