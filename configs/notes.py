"""What the system tells the model about things that no user and no tool has said."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from string import Template
from typing import Literal, get_args

NoteName = Literal[
    "repetition",  # tool, count
    "repeated_cycle",  # tools, count
    "repeat_refused",  # tool, count, result
    "truncated_calls",  # tools
    "truncated_text",
    "empty_reply",
    "plan_unfinished",  # items
    "malformed_arguments",  # tool, count
    "outcome_unknown",  # tool
    "not_started",  # tool
    "cancelled",  # tool
    "cancelled_before_start",  # tool
    "refused_by_person",  # tool
    "refused_with_feedback",  # tool, feedback
    "approved_with_feedback",  # calls, feedback
    "refused_by_policy",  # tool, reason
    "abandoned",  # tool
    "malformed_call",  # tool
    "refused_unattended",  # tool, reason
    "summary",
]
"""Every note there is, with the values its text needs."""

NOTE_NAMES: tuple[NoteName, ...] = get_args(NoteName)

_MOST_ITEMS = 4
_LONGEST_ITEM = 120


def note(name: NoteName, **values: object) -> str:
    """Text of one note, its values filled in.

    A list is written as at most four items and the number of the rest, each item on one line.

    Raises:
        KeyError: a value the text needs is missing.
    """
    return _templates()[name].substitute({key: _written(value) for key, value in values.items()})


def needed_values(name: NoteName) -> frozenset[str]:
    """Names of the values a note's text needs."""
    return frozenset(_templates()[name].get_identifiers())


@functools.cache
def _templates() -> dict[str, Template]:
    text = (Path(__file__).parent / "prompts" / "notes.json").read_text(encoding="utf-8")
    return {name: Template(note_text) for name, note_text in json.loads(text).items()}


def _written(value: object) -> str:
    if not isinstance(value, list | tuple):
        # Control characters in a person's feedback could imitate other parts of the conversation.
        return re.sub(r"[\x00-\x08\x0b-\x1f\x7f]", "", str(value))
    items = [" ".join(str(item).split()) for item in value]
    shown = [item if len(item) <= _LONGEST_ITEM else item[: _LONGEST_ITEM - 1] + "…" for item in items]
    text = "; ".join(shown[:_MOST_ITEMS])
    more = len(items) - _MOST_ITEMS
    return f"{text}; and {more} more" if more > 0 else text
