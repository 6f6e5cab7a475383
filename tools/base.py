"""What a tool is: arguments, a handler, and the class of its effect."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

Effect = Literal["read", "idempotent", "once"]
"""`read` may run again at will, `idempotent` while its fingerprint holds, `once` never silently."""


class Arguments(BaseModel):
    """Arguments of one tool; the docstring of the subclass is what the model reads about the tool."""

    model_config = ConfigDict(extra="forbid", coerce_numbers_to_str=True)


A = TypeVar("A", bound=Arguments)


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a call gave back.

    `content` goes to the model: text, or a list of OpenAI content parts (images as
    `{"type": "image_url", "image_url": {"url": "data:…"}}`). `details` is plain JSON data for
    people and for later calls (`exit_code`, `diff`, `stamps`, `plan`, …), never sent to the model.
    """

    content: str | list[dict[str, Any]]
    ok: bool = True
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ToolContext:
    """What a handler may use of the world."""

    call_id: str
    cwd: Path
    """Directory of the thread; relative paths of the model start here."""
    spill_dir: Path
    """Where whole outputs go when the model gets only head and tail; made on first use, mode 0700."""
    env: Mapping[str, str]
    """The complete environment of child processes, secrets already taken out."""
    stamps: dict[str, str]
    """Resolved path -> sha256 of the file as this thread last read or wrote it; handlers update it."""
    log: Callable[[str], None]
    """Show a piece of live output; safe to call from the event loop only."""
    images: bool = False
    """The model takes images."""


@dataclass(frozen=True, slots=True)
class Tool(Generic[A]):
    """One tool as the router holds it."""

    name: str
    arguments: type[A]
    run: Callable[[A, ToolContext], Awaitable[ToolResult | str]]
    effect: Effect | Callable[[A], Effect] = "read"
    timeout_s: float | Callable[[A], float] = 120.0
    """Longest run of one call in seconds, counted from its start (not from its place in the queue)."""
    fingerprint: Callable[[A, ToolContext], Awaitable[dict[str, str]]] | None = None
    """What an `idempotent` call is about to touch, e.g. hashes before and after; kept with its start."""
    recover: Callable[[A, ToolContext, dict[str, str]], Awaitable[ToolResult | None]] | None = None
    """After a crash: from the fingerprint kept at the start, the result if the call did finish, else None."""
    preview: Callable[[A, ToolContext], Awaitable[dict[str, Any]]] | None = None
    """What an approval shows besides the arguments, e.g. the diff an edit would make."""

    def effect_of(self, arguments: A) -> Effect:
        """Class of this very call."""
        return self.effect(arguments) if callable(self.effect) else self.effect

    def timeout_of(self, arguments: A) -> float:
        """Seconds this very call may take."""
        return self.timeout_s(arguments) if callable(self.timeout_s) else self.timeout_s
