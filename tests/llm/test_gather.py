"""Putting streamed pieces together, with the shapes providers were seen to send."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ml_intern.llm.gather import Gatherer
from ml_intern.llm.reply import checked_arguments, clean_text, finish_message


def piece(
    index: int | None, call_id: str | None = None, name: str | None = None, arguments: Any = None
) -> Any:
    function = SimpleNamespace(name=name, arguments=arguments)
    return SimpleNamespace(index=index, id=call_id, function=function)


def gathered(*pieces: Any) -> list[tuple[str, str, str]]:
    gatherer = Gatherer()
    for one in pieces:
        gatherer.add_delta(SimpleNamespace(content=None, tool_calls=[one]))
    return [(draft.id, draft.name, draft.arguments) for draft in gatherer.drafts]


A, B = '{"path": "a"}', '{"path": "b"}'
TWO = [("1", "read", A), ("2", "write", B)]


@pytest.mark.parametrize(
    "pieces",
    [
        [piece(0, "1", "read", A[:5]), piece(0, None, None, A[5:]), piece(1, "2", "write", B)],
        [piece(0, "1", "read", A[:5]), piece(1, "2", "write", B[:3]), piece(0, None, None, A[5:]),
         piece(1, None, None, B[3:])],
        [piece(0, "1", "read", A[:5]), piece(0, "1", None, A[5:]), piece(0, "2", "write", B)],
        [piece(0, "1", "read", A[:5]), piece(0, "2", "write", B[:3]), piece(0, "1", None, A[5:]),
         piece(0, "2", None, B[3:])],
        [piece(None, "1", "read", A[:5]), piece(None, None, None, A[5:]), piece(None, "2", "write", B)],
        [piece(0, "1", "read", ""), piece(0, "", "", A), piece(1, "2", "write", ""), piece(1, "", "", B)],
        [piece(0, "1", "read", None), piece(0, "1", "read", A), piece(1, "2", "write", B)],
    ],
    ids=["by index", "interleaved", "all 0", "0 interleaved", "no index", "empty ids", "name repeated"],
)  # fmt: skip
def test_two_calls_stay_two(pieces: list[Any]) -> None:
    assert gathered(*pieces) == TWO


def test_calls_without_ids_are_told_apart_by_their_names() -> None:
    assert gathered(piece(0, None, "read", A), piece(0, None, "write", B)) == [
        ("", "read", A),
        ("", "write", B),
    ]


def test_arguments_sent_as_an_object_become_text() -> None:
    assert gathered(piece(0, "1", "read", {"path": "a"}), piece(1, "2", "write", B)) == TWO


@pytest.mark.parametrize(
    ("raw", "checked"),
    [
        ("", "{}"),
        ("  ", "{}"),
        ("null", "{}"),
        ("{}", "{}"),
        (A, A),
        ("[1]", None),
        ('"text"', None),
        ('{"a": NaN}', None),
        ('{"a": 1} {"b": 2}', None),
        ("{" * 20_000, None),
        ('{"a": "\\ud83e"}', '{"a": ""}'),
        ('{"a": "\\ud83e\\udd17"}', '{"a": "🤗"}'),
    ],
)
def test_arguments_are_an_object_or_malformed(raw: str, checked: str | None) -> None:
    assert checked_arguments(raw) == checked


def test_a_lone_surrogate_is_left_out_and_a_pair_joined() -> None:
    assert clean_text("a\ud83eb \ufffd") == "ab \ufffd"
    assert clean_text("\ud83e\udd17") == "🤗"
    assert clean_text("naïve \ufffd") == "naïve \ufffd"


def test_an_answer_of_nothing_has_no_content_and_no_calls() -> None:
    message, malformed = finish_message(text="", reasoning="", thinking_blocks=[], drafts=[])
    assert message == {"role": "assistant", "content": None}
    assert malformed == {}


def test_thinking_blocks_are_joined_up_to_their_signature() -> None:
    gatherer = Gatherer()
    blocks: list[dict[str, Any]] = [
        {"type": "thinking", "thinking": "Let me "},
        {"type": "thinking", "thinking": "see."},
        {"type": "thinking", "thinking": "Let me see.", "signature": "S1"},
        {"type": "redacted_thinking", "data": "xxx"},
        {"type": "thinking", "thinking": "More."},
        {"type": "thinking", "thinking": "", "signature": "S2"},
    ]
    for block in blocks:
        gatherer.add_delta(SimpleNamespace(content=None, thinking_blocks=[block]))
    assert gatherer.thinking_blocks == [
        {"type": "thinking", "thinking": "Let me see.", "signature": "S1"},
        {"type": "redacted_thinking", "data": "xxx"},
        {"type": "thinking", "thinking": "More.", "signature": "S2"},
    ]
