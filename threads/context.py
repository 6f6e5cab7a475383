"""Put together what the nodes may use of the world, for one run of one thread."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..configs.home import user_home
from ..configs.prompting import agents_files, system_prompt
from ..configs.secret_names import is_secret
from ..graphs.state import AgentContext, Gate, Limits
from ..llm.client import ModelClient
from ..nodes._entries import calls_of, current_stamps
from ..tools.base import ToolContext
from ..tools.policy import evaluate, packaged_rules, rules_of
from ..tools.registry import ToolRouter, default_tools
from .blobs import BlobStore
from .leftovers import MARKER, marker
from .model_settings import model_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..graphs.state import Completer, Entry
    from .budget import Ledger
    from .effects import EffectLog
    from .journal import Journal
    from .opening import Opening


@dataclass(frozen=True, slots=True)
class Parts:
    """What a context is made of besides the settings."""

    home: Path
    model: Completer
    tools: ToolRouter
    journal: Journal
    effect_log: EffectLog
    ledger: Ledger
    history: Sequence[Entry]
    row: Mapping[str, Any]


def build_context(opening: Opening, parts: Parts) -> AgentContext:
    """The context of one run."""
    settings = opening.loaded.settings
    return AgentContext(
        model=parts.model,
        tools=parts.tools,
        system_prompt=parts.row["system_prompt"],
        emit=parts.journal.emit,
        effects=parts.effect_log,
        budget=parts.ledger,
        gate=Gate([entry["call_id"] for entry in parts.history if entry["kind"] == "result"]),
        tool_context=_tool_contexts(opening, parts),
        policy=_policy(opening, parts.home),
        blobs=BlobStore(parts.home / "blobs"),
        limits=Limits(
            max_iterations=settings.max_iterations,
            iterations_base=parts.row["iterations_base"],
            compact_at_tokens=settings.compact_at_tokens,
            compact_at_fraction=settings.compact_at_fraction,
            window_tokens=parts.model.window,
        ),
        approval_mode=opening.approval_mode,
        stream=opening.stream,
        headless=opening.headless,
        known_call_ids=parts.effect_log.known_calls()
        | {call["id"] for entry in parts.history for call in calls_of(entry)},
    )


def client_for(opening: Opening) -> ModelClient:
    """The client of the model that was chosen.

    Raises:
        UserError: Its key is missing, or the id is none.
    """
    return ModelClient(
        opening.model_id, model_settings(opening.loaded.settings, opening.loaded.env, opening.thread_id)
    )


def tools_for(opening: Opening) -> ToolRouter:
    """The tools of this run."""
    return ToolRouter(default_tools())


def write_system_prompt(opening: Opening, tool_names: Sequence[str]) -> str:
    """The system prompt of a new thread; it stays the same to the byte for the thread's life."""
    return system_prompt(
        headless=opening.headless,
        runtime=opening.loaded.settings.tool_runtime,
        cwd=opening.cwd,
        tool_names=tool_names,
        agents_md=agents_files(opening.cwd, opening.loaded.env),
        today=datetime.now(UTC).date(),
        user=None,
    )


def child_environment(env: Mapping[str, str], granted: Sequence[str] = ()) -> dict[str, str]:
    """Environment of shell commands: ours without secrets, by name or value, unless granted."""
    return {name: value for name, value in env.items() if name in granted or not is_secret(name, value)}


def _tool_contexts(opening: Opening, parts: Parts) -> Callable[[str, Callable[[str], None]], ToolContext]:
    stamps = current_stamps(parts.history)
    env = child_environment(opening.loaded.env, opening.loaded.settings.shell_env)
    cwd = Path(parts.row["cwd"])
    spill_dir = parts.home / "spill" / opening.thread_id
    images = parts.model.takes_images

    def context_of(call_id: str, log: Callable[[str], None]) -> ToolContext:
        marked = {**env, MARKER: marker(parts.home, opening.thread_id, call_id)}
        return ToolContext(call_id, cwd, spill_dir, marked, stamps, log, images)

    return context_of


def _policy(opening: Opening, home: Path) -> Callable[[str, dict[str, Any]], Any]:
    configured = opening.loaded.settings.policy
    rows = [
        {
            "action": action,
            "tool": rule.tool,
            "match": rule.match,
            **({"reason": rule.reason} if rule.reason else {}),
        }
        for action in ("deny", "ask", "allow")
        for rule in getattr(configured, action)
    ]
    rules = (*packaged_rules(), *rules_of(rows, "settings"))
    cwd, person = opening.cwd, user_home(opening.loaded.env)
    return lambda name, arguments: evaluate(
        name, arguments, cwd=cwd, home=person, rules=rules, state_dir=home
    )
