"""Ways to make a history smaller, mildest first; none tears a call from its result."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ..llm.tokens import estimate_message
from ._entries import calls_of, groups, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ..graphs.state import Entry

BULKY_TOKENS = 150
"""A result or an argument above this is worth a stub."""
STUB_HEAD_CHARS = 200
RECENT_GROUPS = 4
"""Newest groups that the milder ways leave alone."""
ENDS_CHARS = (256_000, 64_000, 16_000, 4_000, 1_000, 250)
"""Last resort: what is kept of both ends of a long text, tried in this order."""


def total_tokens(history: Sequence[Entry]) -> int:
    """Estimated tokens of all entries."""
    return sum(entry["tokens"] for entry in history)


def shrink(history: list[Entry], target_tokens: int) -> list[Entry]:
    """The mildest rewriting without a model that fits the target; the smallest one if none does.

    The first request and every user message stay as they are until nothing else is left.
    """
    for way in _ways():
        if total_tokens(history) <= target_tokens:
            break
        history = way(history, target_tokens)
    return history


def _ways() -> Iterator[Callable[[list[Entry], int], list[Entry]]]:
    yield lambda history, target: _stub_results(history, target, keep_groups=RECENT_GROUPS)
    yield lambda history, target: _stub_arguments(history, target, keep_groups=RECENT_GROUPS)
    yield lambda history, target: _stub_results(history, target, keep_groups=1)
    yield lambda history, target: _stub_arguments(history, target, keep_groups=1)


def squeeze(history: list[Entry], target_tokens: int) -> list[Entry]:
    """The last resort, after a summary: also the newest group, then long texts, the first request last."""
    history = _stub_results(history, target_tokens, keep_groups=0)
    history = _stub_arguments(history, target_tokens, keep_groups=0)
    users = [position for position, entry in enumerate(history) if entry["kind"] in ("user", "summary")]
    answers = [position for position, entry in enumerate(history) if entry["kind"] == "assistant"]
    for ends_chars in ENDS_CHARS:
        for positions in (answers, [*users[1:], *users[:1]]):
            history = _rewrite(history, target_tokens, positions, lambda entry: _cut(entry, ends_chars))  # noqa: B023 - called at once
    return history


def split(history: Sequence[Entry], tail_tokens: int) -> tuple[list[Entry], list[Entry]]:
    """(the old part, the newest groups verbatim).

    The tail holds the newest group always, and more of them while they fit `tail_tokens`.
    """
    start = len(history)
    room = tail_tokens
    for begin, end in reversed(list(groups(history))):
        size = total_tokens(history[begin:end])
        if start < len(history) and size > room:
            break
        room -= size
        start = begin
    return list(history[:start]), list(history[start:])


def transcript(entries: Sequence[Entry], max_chars: int) -> str:
    """The old part as text for the summary: every call and text, each the shorter the more there are."""
    text = ""
    for share in (1.0, 0.3, 0.1):
        text = "\n".join(line for entry in entries for line in _lines(entry, share))
        if len(text) <= max_chars:
            break
    return _ends(text, max_chars)


def _lines(entry: Entry, share: float) -> Iterator[str]:
    """What the summary is made from: one entry, its parts cut to a share of their usual length."""
    text = text_of(entry)
    if entry["kind"] == "result":
        yield f"RESULT of {entry['message'].get('name', 'tool')}: {_ends(text, int(1_200 * share))}"
        return
    if text:
        # An earlier summary is all that is left of what came before it: it stays whole.
        most = len(text) if entry["kind"] == "summary" else int(6_000 * share)
        yield f"{entry['kind'].upper()}: {_ends(text, most)}"
    for call in calls_of(entry):
        arguments = _ends(call["function"]["arguments"], int(1_200 * share))
        yield f"CALL {call['function']['name']} {arguments}"


def mechanical_summary(entries: Sequence[Entry], max_chars: int = 6_000) -> str:
    """What was called and what came back, one line each: for when no model can summarise."""
    lines = []
    for entry in entries:
        for call in calls_of(entry):
            lines.append(f"- called {call['function']['name']} {_ends(call['function']['arguments'], 160)}")
        if entry["kind"] == "result":
            first = text_of(entry).strip().splitlines()[:1]
            lines.append(f"  -> {_ends(first[0], 160) if first else '(no output)'}")
        elif entry["kind"] in ("assistant", "summary") and text_of(entry):
            lines.append(_ends(text_of(entry), 1_500))
    return _ends("\n".join(lines), max_chars)


def _ends(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    head, tail = int(most * 0.6), int(most * 0.4)
    return f"{text[:head]} [… {len(text) - head - tail:,} characters left out …] {text[-tail:]}"


def _protected_from(history: Sequence[Entry], keep_groups: int) -> int:
    """Position from which the newest groups are left alone."""
    if keep_groups == 0:
        return len(history)
    answers = [begin for begin, _ in groups(history) if history[begin]["kind"] == "assistant"]
    return answers[-keep_groups] if len(answers) >= keep_groups else 0


def _rewrite(
    history: list[Entry], target_tokens: int, positions: Iterable[int], change: Callable[[Entry], Entry]
) -> list[Entry]:
    """Change entries in this order until the target is met; a change that makes none smaller is not made."""
    total = total_tokens(history)
    rewritten = list(history)
    for position in positions:
        if total <= target_tokens:
            break
        entry = change(rewritten[position])
        if entry["tokens"] >= rewritten[position]["tokens"]:
            continue
        total += entry["tokens"] - rewritten[position]["tokens"]
        rewritten[position] = entry
    return rewritten


def _stub_results(history: list[Entry], target_tokens: int, keep_groups: int) -> list[Entry]:
    def change(entry: Entry) -> Entry:
        if entry["kind"] != "result" or entry["tokens"] <= BULKY_TOKENS:
            return entry
        text = text_of(entry)
        name = entry["message"].get("name", "the call")
        stub = f"[{len(text):,} characters of {name}'s result removed to save room] {text[:STUB_HEAD_CHARS]}"
        return _with_content(entry, stub)

    return _rewrite(history, target_tokens, range(_protected_from(history, keep_groups)), change)


def _stub_arguments(history: list[Entry], target_tokens: int, keep_groups: int) -> list[Entry]:
    def change(entry: Entry) -> Entry:
        calls = entry["message"].get("tool_calls") or []
        if not calls or entry["tokens"] <= BULKY_TOKENS:
            return entry
        shorter = [
            {
                **call,
                "function": {
                    **call["function"],
                    "arguments": _short_arguments(call["function"]["arguments"]),
                },
            }
            for call in calls
        ]
        message = {**entry["message"], "tool_calls": shorter}
        return {**entry, "message": message, "tokens": estimate_message(message)}

    return _rewrite(history, target_tokens, range(_protected_from(history, keep_groups)), change)


def _short_arguments(raw: str) -> str:
    """The arguments with every long string cut; still the same fields."""

    def short(value: Any) -> Any:
        if isinstance(value, str) and len(value) > 2 * STUB_HEAD_CHARS:
            removed = len(value) - STUB_HEAD_CHARS
            return f"{value[:STUB_HEAD_CHARS]} [… {removed:,} characters removed to save room]"
        if isinstance(value, list):
            return [short(item) for item in value]
        if isinstance(value, dict):
            return {key: short(item) for key, item in value.items()}
        return value

    return json.dumps(short(json.loads(raw)), ensure_ascii=False)


def _cut(entry: Entry, ends_chars: int) -> Entry:
    text = text_of(entry)
    if len(text) <= 2 * ends_chars:
        return entry
    cut = len(text) - 2 * ends_chars
    return _with_content(
        entry, f"{text[:ends_chars]}\n[… {cut:,} characters left out …]\n{text[-ends_chars:]}"
    )


def _with_content(entry: Entry, content: str) -> Entry:
    message = {**entry["message"], "content": content}
    return {**entry, "message": message, "tokens": estimate_message(message)}
