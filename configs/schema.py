"""Every setting there is: name, type, bounds, default."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator

ApprovalMode = Literal["auto", "ask", "deny"]
ReasoningEffort = Literal["minimal", "low", "medium", "high", "xhigh", "max"]

UNLIMITED = -1
"""`max_iterations` that never ends a turn."""

Usd = Annotated[float, Field(ge=0, allow_inf_nan=False)]

INEFFECTIVE: dict[str, str] = {
    "mcpServers": "MCP servers are not connected yet",
    "messaging": "notifications are not sent yet",
    "save_sessions": "every step is always stored in ML_INTERN_HOME",
    "session_dataset_repo": "threads are never uploaded to a shared dataset",
    "share_traces": "threads are not uploaded yet",
    "personal_trace_repo_template": "threads are not uploaded yet",
    "auto_save_interval": "every step is stored as it happens",
    "heartbeat_interval_s": "every step is stored as it happens",
    "auto_file_upload": "the tool it was for is gone",
    "confirm_cpu_jobs": "jobs are not submitted yet",
    "headless_max_cost_usd": "jobs and sandboxes are not started yet",
    "tool_runtime": "tools run on this machine only, for now",
}
"""Settings that are accepted for the sake of existing files but change nothing, and why."""


class _Section(BaseModel):
    # Inputs stay out of pydantic's messages: after substitution they may be secrets.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def _rule_of(value: Any) -> Any:
    return {"tool": value} if isinstance(value, str) else value


class Rule(_Section):
    """One policy rule: calls of `tool` whose arguments all match."""

    tool: str = Field(min_length=1)
    """Name, or pattern with `*`."""
    match: dict[str, str] = {}
    """Argument -> regular expression that must be found in its text."""
    reason: str = ""

    @field_validator("match")
    @classmethod
    def _regular_expressions(cls, match: dict[str, str]) -> dict[str, str]:
        for argument, pattern in match.items():
            try:
                re.compile(pattern)
            except re.error as error:
                # A rule that could never match would be a deny rule that silently allows.
                raise ValueError(f"{pattern!r} for {argument!r} is no regular expression: {error}") from error
        return match


def _web_address(value: str) -> str:
    if not re.match(r"https?://[^\s/]+", value):
        raise ValueError("must be an http:// or https:// address")
    return value


WebAddress = Annotated[str, AfterValidator(_web_address)]

Rules = list[Annotated[Rule, BeforeValidator(_rule_of)]]


class Policy(_Section):
    """Rules of the person beside the packaged ones; deny beats ask beats allow."""

    deny: Rules = []
    ask: Rules = []
    allow: Rules = []


class PriceOverride(_Section):
    """USD per million tokens."""

    input: Usd
    output: Usd
    cache_read: Usd | None = None
    """None: as `input`."""
    cache_write: Usd | None = None
    """None: as `input`."""


class Messaging(_Section):
    """Where notifications would go."""

    enabled: bool = False
    auto_event_types: list[Literal["approval_required", "error", "turn_complete"]] = []
    destinations: dict[Annotated[str, Field(pattern=r"^[a-z0-9._-]+$")], dict[str, Any]] = {}


class Settings(_Section):
    """What a person can set, after all sources were laid over each other."""

    model_name: str = ""
    """LiteLLM id; empty: chosen by the key that is set."""
    reasoning_effort: ReasoningEffort | None = "high"
    """None: the provider's own default; `off` means None."""
    max_iterations: int = 300
    """Model calls of one turn; -1 for no limit."""
    stream: bool = True
    approval_mode: ApprovalMode | None = None
    """None: ask interactively, auto whenever a prompt is given."""
    yolo_mode: bool = False
    """Older spelling of `approval_mode: auto`."""
    max_cost: Usd | None = None
    """Cap of one thread in USD over models, jobs and sandboxes; None: no cap asked for."""
    headless_max_cost_usd: Usd = 20.0
    """Cap over jobs and sandboxes of a headless thread when `max_cost` is None."""
    retries: Annotated[int, Field(ge=0, le=20)] = 3
    """Repetitions of a model call that failed for a passing reason."""
    compact_at_tokens: Annotated[int, Field(ge=1000)] = 170_000
    """Context size from which the history is shortened."""
    compact_at_fraction: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 0.9
    """The same as a share of the model's window; the smaller of the two counts."""
    policy: Policy = Policy()
    price_overrides: dict[str, PriceOverride] = {}
    """Model id -> price."""
    context_windows: dict[str, Annotated[int, Field(ge=1)]] = {}
    """Model id -> tokens."""
    hosts: dict[str, WebAddress] = {}
    """Variable that names a host (`HF_ENDPOINT`, `GITHUB_API_URL`, …) -> URL; the environment wins."""
    shell_env: list[str] = []
    """Names of secret variables (`HF_TOKEN`, …) that shell commands get too; without it they get none."""
    tool_runtime: Literal["local", "sandbox"] = "local"
    confirm_cpu_jobs: bool = True
    mcpServers: dict[str, dict[str, Any]] = {}
    messaging: Messaging = Messaging()
    save_sessions: bool = True
    session_dataset_repo: str = "smolagents/ml-intern-sessions"
    share_traces: bool = True
    personal_trace_repo_template: str = "{hf_user}/ml-intern-sessions"
    auto_save_interval: int = 1
    heartbeat_interval_s: int = 60
    auto_file_upload: bool = False

    @field_validator("max_iterations")
    @classmethod
    def _at_least_one(cls, value: int) -> int:
        if value != UNLIMITED and value < 1:
            raise ValueError("must be 1 or more, or -1 for no limit")
        return value

    @field_validator("reasoning_effort", mode="before")
    @classmethod
    def _off_is_none(cls, value: Any) -> Any:
        return None if value == "off" else value

    @field_validator("model_name")
    @classmethod
    def _one_word(cls, value: str) -> str:
        if re.search(r"\s", value.strip()):
            raise ValueError("a model id holds no blanks")
        return value.strip()

    @property
    def iteration_limit(self) -> int | None:
        """Model calls of one turn; None for no limit."""
        return None if self.max_iterations == UNLIMITED else self.max_iterations
