"""The data that flows through the graph, and what a node may use of the world.

Channels hold plain JSON-able data only. `history` is a list of entries in a `DeltaChannel`, so a
checkpoint costs as much as what is new in it, not as much as the conversation.
"""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal, NotRequired, Protocol

from langgraph.channels.delta import DeltaChannel
from typing_extensions import TypedDict  # pydantic, and with it Studio, takes no other on 3.11

from ..events import now

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..events import EventName
    from ..llm.reply import Reply
    from ..tools.base import Effect, ToolContext
    from ..tools.policy import Decision
    from ..tools.registry import ToolRouter

SNAPSHOT_EVERY = 1000
"""Updates between full copies of the history in the database (measured in DESIGN 4: 4.6 MB, flat)."""

EntryKind = Literal["user", "assistant", "result", "note", "summary"]


class Entry(TypedDict):
    """One thing in the history. The message is one level down on purpose.

    LangGraph turns dicts with a top-level `role` or `type` into LangChain objects when they are
    written to a DeltaChannel, so the envelope uses `kind`.
    """

    id: str
    at: str
    """ISO-8601 time, UTC."""
    kind: EntryKind
    message: dict[str, Any]
    """The message as OpenAI's chat completions have it."""
    tokens: int
    """Estimated size in tokens."""
    call_id: NotRequired[str]
    """On a result: the tool call it answers."""
    ok: NotRequired[bool]
    """On a result: whether the tool succeeded."""
    status: NotRequired[str]
    """On a result that no tool made: `refused`, `malformed`, `cancelled`, `unknown`, `abandoned`, `loop`."""
    malformed: NotRequired[dict[str, str]]
    """On an assistant entry: call id -> the arguments as received, where they are no JSON."""
    reason: NotRequired[str]
    """On a note: why it was written (`truncated`, `repetition`, `plan`, …)."""
    details: NotRequired[dict[str, Any]]
    """Data for people and later calls (diff, exit code, stamps, plan); never sent to the model."""


class Turn(TypedDict):
    """What one user turn has used up."""

    id: str
    iterations: int
    """Model calls of the main loop so far."""
    cut_count: int
    """Answers in a row that were cut or empty."""
    plan_nudge_count: int
    """Notes about an unfinished plan since the last tool call."""


class BatchCall(TypedDict):
    """What is to be done with one tool call of the current batch."""

    call_id: str
    index: int
    decision: Literal["run", "refused", "malformed", "abandoned"]
    reason: str
    """Why it is not run, in words for the model; empty when it is."""
    effect: Effect
    waits_for: list[str]
    """Ids of earlier calls of the batch that must be over first."""


class ToolTask(TypedDict):
    """Input of one `tool_exec` task."""

    call: dict[str, Any]
    """The tool call as the assistant message has it."""
    decision: BatchCall


class Guard(TypedDict):
    """Memory of the repetition guard."""

    signature: str
    fired_count: int


class Window(TypedDict):
    """What is known of the model's context window."""

    limit_tokens: int | None
    """Learned from an overflow; None while the provider never refused."""
    used_tokens: int
    """Prompt and answer of the latest call, as the provider counted them; 0 before the first."""
    counted_entries: int
    """How many entries of the history that figure covers."""
    overflow_count: int
    """Refusals in a row."""
    model_id: NotRequired[str]
    """The model whose refusal taught `limit_tokens`."""


def extend_history(history: list[Entry], writes: Sequence[list[Entry]]) -> list[Entry]:
    """Append every write in order. Deterministic and batching-invariant, as DeltaChannel demands."""
    return [*history, *(entry for write in writes for entry in write)]


ApprovalMode = Literal["auto", "ask", "deny"]
"""What becomes of a call that a rule wants asked."""
StopReason = Literal["answer", "iterations", "cost", "repetition", "context"]


class AgentState(TypedDict, total=False):
    """Everything a checkpoint holds."""

    history: Annotated[list[Entry], DeltaChannel(extend_history, snapshot_frequency=SNAPSHOT_EVERY)]
    turn: Turn
    reply: Literal["answer", "again", "tools"]
    """What the latest model answer calls for."""
    batch: list[BatchCall]
    refused: bool
    """`doom_check` refused the latest batch."""
    guard: Guard | None
    window: Window
    stop: StopReason | None
    """Why the turn ended; None while it goes on."""


class AgentUpdate(TypedDict, total=False):
    """What a node returns: only what changed. `history` holds new entries or an `Overwrite`."""

    history: Any
    turn: Turn
    reply: Literal["answer", "again", "tools"]
    batch: list[BatchCall]
    refused: bool
    guard: Guard | None
    window: Window
    stop: StopReason | None


class Emit(Protocol):
    """Store an event, then show it to whoever listens."""

    def __call__(self, name: EventName, data: dict[str, Any]) -> None:
        """Returns at once; the event is stored before anybody sees it."""


class Completer(Protocol):
    """The model, as the nodes see it."""

    model_id: str

    @property
    def price(self) -> object | None:
        """What a call costs; None when unknown, which is not zero."""

    @property
    def window(self) -> int | None:
        """Context window in tokens; None when unknown."""

    @property
    def takes_images(self) -> bool:
        """Whether the model takes images."""

    async def look_up_price(self) -> bool:
        """Ask the provider's catalogue for a price that is not known here; whether it is now."""

    async def complete(
        self,
        messages: list[dict[str, Any]],
        tools: list[dict[str, Any]] | None,
        *,
        stream: bool,
        on_text: Callable[[str], None],
        on_discard: Callable[[str], None],
        on_notice: Callable[[str], None],
        max_tokens: int | None = None,
        tool_choice: str | None = None,
    ) -> Reply:
        """The next message; see `llm.client.ModelClient.complete`."""

    async def close(self) -> None:
        """Close its connections."""


class EffectRecord(TypedDict):
    """What the effects table knows of one call."""

    digest: str
    state: Literal["started", "finished", "unknown"]
    fingerprint: dict[str, str]
    entry: Entry | None
    """The stored result of a finished call."""


class Effects(Protocol):
    """The record that keeps a finished call from running twice."""

    def find(self, call_id: str, digest: str) -> EffectRecord | None:
        """What an earlier run left of this very call."""

    async def start(
        self, call_id: str, digest: str, tool: str, effect: Effect, fingerprint: dict[str, str]
    ) -> None:
        """Put on disk that the call starts now."""

    async def finish(self, call_id: str, entry: Entry, *, unknown: bool = False) -> None:
        """Put the result on disk before the node returns it."""

    def remember(self, call_id: str, entry: Entry) -> None:
        """Keep the result of a call without effect, in case the run is stopped before a checkpoint has it."""

    def attempt(self, call_id: str) -> int:
        """Which run of this call this is, from 1."""


class Budget(Protocol):
    """The one USD cap over everything a thread does."""

    def record_model(self, kind: str, reply: Reply) -> None:
        """Book one model call."""

    def exhausted(self, *, free: bool = False) -> str | None:
        """One line that says the cap is reached, or None; `free`: the next call costs nothing."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of the run, from the settings."""

    max_iterations: int = 300
    """-1: none."""
    iterations_base: int = 0
    """Iterations of this turn that a later `-r` does not count."""
    compact_at_tokens: int = 170_000
    compact_at_fraction: float = 0.9
    window_tokens: int | None = None
    """Window by configuration or catalogue; None when nobody knows."""


@dataclass(frozen=True, slots=True)
class AgentContext:
    """What the nodes use of the world; never checkpointed, so no secret reaches the disk."""

    model: Completer
    tools: ToolRouter
    system_prompt: str
    emit: Emit
    effects: Effects
    budget: Budget
    gate: Gate
    tool_context: Callable[[str, Callable[[str], None]], ToolContext]
    """(call id, log) -> what the handler gets."""
    policy: Callable[[str, dict[str, Any]], Decision]
    """(tool, canonical arguments) -> allow, ask or deny."""
    blobs: Blobs
    limits: Limits = field(default_factory=Limits)
    approval_mode: ApprovalMode = "auto"
    answered_hash: str | None = None
    """Hash of the waiting approval that this run answers."""
    stream: bool = True
    headless: bool = True
    known_call_ids: set[str] = field(default_factory=set)
    """Every tool call id of the thread: some servers number them anew in each answer."""


class Blobs(Protocol):
    """Content-addressed store for what is too big for the history."""

    def lift(self, message: dict[str, Any]) -> dict[str, Any]:
        """The message with its big images replaced by `{blob, mime, bytes}`."""

    def inline(self, message: dict[str, Any]) -> dict[str, Any]:
        """The message as the provider wants it."""


class Gate:
    """Makes the calls of a batch wait for each other: `Send` starts them all at once."""

    def __init__(self, done: Sequence[str] = ()) -> None:
        self._done = set(done)
        self._events: dict[str, asyncio.Event] = {}

    async def wait(self, call_ids: Sequence[str]) -> None:
        """Wait until all of these calls are over; a call settled before a crash is."""
        for call_id in call_ids:
            if call_id not in self._done:
                await self._events.setdefault(call_id, asyncio.Event()).wait()

    def open(self, call_id: str) -> None:
        """This call is over."""
        self._done.add(call_id)
        event = self._events.pop(call_id, None)
        if event:
            event.set()


def new_entry(kind: EntryKind, message: dict[str, Any], tokens: int, **extra: Any) -> Entry:
    """An entry with a fresh id, made before it is written because DeltaChannel replays writes."""
    entry: dict[str, Any] = {
        "id": uuid.uuid4().hex[:16],
        "at": now(),
        "kind": kind,
        "message": message,
        "tokens": tokens,
        **extra,
    }
    return entry  # type: ignore[return-value] # the keys of Entry, some of them optional


def new_turn() -> Turn:
    """A turn that has used nothing yet."""
    return {"id": uuid.uuid4().hex[:12], "iterations": 0, "cut_count": 0, "plan_nudge_count": 0}


def new_window(known: Mapping[str, Any] | None = None) -> Window:
    """A window nobody has learned anything about, or what was learned with the counts reset."""
    window: Window = {"limit_tokens": None, "used_tokens": 0, "counted_entries": 0, "overflow_count": 0}
    if known and known.get("limit_tokens") and known.get("model_id"):
        window["limit_tokens"], window["model_id"] = known["limit_tokens"], known["model_id"]
    return window
