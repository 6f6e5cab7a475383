from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ml_intern.graphs.state import new_entry
from ml_intern.llm.tokens import estimate_message
from ml_intern.nodes._entries import calls_of, groups, user_entry, wire_messages
from ml_intern.nodes._shrink import mechanical_summary, shrink, split, squeeze, total_tokens, transcript
from ml_intern.tests.bench import openai_rules
from ml_intern.threads.blobs import BlobStore

if TYPE_CHECKING:
    from pathlib import Path

    from ml_intern.graphs.state import Entry

TEXTS = st.one_of(
    st.text(max_size=30),
    st.builds(
        lambda piece, times: piece * times, st.sampled_from(["word ", "日本語", "é\n"]), st.integers(0, 4_000)
    ),
)
ARGUMENTS = st.dictionaries(st.text(min_size=1, max_size=5), st.one_of(TEXTS, st.lists(TEXTS, max_size=2)))


@st.composite
def histories(draw: st.DrawFn) -> list[Entry]:
    """Histories as turns leave them: requests, answers with all their results in any order, notes."""
    history: list[Entry] = []
    for turn in range(draw(st.integers(1, 4))):
        history.append(user_entry(f"request {turn} {draw(TEXTS)}"))
        for step in range(draw(st.integers(0, 5))):
            ids = [f"c{turn}-{step}-{n}" for n in range(draw(st.integers(0, 3)))]
            message: dict[str, Any] = {"role": "assistant", "content": draw(TEXTS) or "so"}
            if ids:
                message["tool_calls"] = [
                    {
                        "id": call_id,
                        "type": "function",
                        "function": {"name": "bash", "arguments": json.dumps(draw(ARGUMENTS))},
                    }
                    for call_id in ids
                ]
            history.append(new_entry("assistant", message, estimate_message(message)))
            for call_id in draw(st.permutations(ids)):
                message = {"role": "tool", "tool_call_id": call_id, "name": "bash", "content": draw(TEXTS)}
                history.append(new_entry("result", message, estimate_message(message), call_id=call_id))
    return history


def requests(history: list[Entry]) -> list[str]:
    return [entry["message"]["content"] for entry in history if entry["kind"] == "user"]


QUICK = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@QUICK
@given(histories(), st.integers(-1_000, 40_000))
def test_shrinking_tears_no_call_from_its_result_and_never_grows(history: list[Entry], target: int) -> None:
    for smaller in (shrink(history, target), squeeze(shrink(history, target), target)):
        assert [entry["id"] for entry in smaller] == [entry["id"] for entry in history]
        assert [[call["id"] for call in calls_of(entry)] for entry in smaller] == [
            [call["id"] for call in calls_of(entry)] for entry in history
        ]
        for before, after in zip(history, smaller, strict=True):
            assert after["tokens"] <= before["tokens"]
            assert after["tokens"] == estimate_message(after["message"])


@QUICK
@given(histories(), st.integers(-1_000, 40_000))
def test_requests_stay_whole_until_everything_else_is_small(history: list[Entry], target: int) -> None:
    assert requests(shrink(history, target)) == requests(history)
    squeezed = squeeze(shrink(history, target), target)
    if requests(squeezed) == requests(history):
        return
    if requests(squeezed)[0] != requests(history)[0]:
        assert all(len(text) <= 8_100 for text in requests(squeezed))
    for entry in squeezed:
        if entry["kind"] == "result":
            assert entry["tokens"] <= 450
        elif entry["kind"] == "assistant":
            assert len(entry["message"]["content"]) <= 2 * 4_000 + 100


@QUICK
@given(histories(), st.integers(0, 20_000))
def test_both_parts_of_a_split_are_histories_a_provider_takes(history: list[Entry], room: int) -> None:
    old, tail = split(history, room)
    assert old + tail == history
    assert tail
    (last_start, _) = list(groups(history))[-1]
    assert total_tokens(tail) <= max(room, total_tokens(history[last_start:]))
    for part in (old, tail):
        messages = wire_messages([user_entry("Go."), *part], "You are.", BlobStore(None))  # type: ignore[arg-type] # holds no blob
        request = {"model": "m", "messages": messages}
        assert openai_rules.first_violation(request) is None


@QUICK
@given(histories(), st.integers(1_000, 20_000))
def test_the_text_for_a_summary_is_as_long_as_allowed(history: list[Entry], most: int) -> None:
    assert len(transcript(history, most)) <= most + 60
    assert len(mechanical_summary(history, most)) <= most + 60


def test_an_earlier_summary_is_whole_in_the_text_for_the_next_one() -> None:
    gist = "Everything that matters. " * 100
    message = {"role": "user", "content": gist}
    history = [new_entry("summary", message, estimate_message(message))]
    for n in range(40):
        message = {"role": "assistant", "content": f"answer {n} " + "word " * 1_000}
        history.append(new_entry("assistant", message, estimate_message(message)))
    text = transcript(history, 40_000)
    assert gist in text
    assert "answer 39" in text
    assert len(text) <= 40_000


def test_long_strings_in_arguments_are_cut_and_the_other_fields_stay() -> None:
    arguments = {"path": "a.py", "content": "x = 1\n" * 500, "deep": [{"text": "é" * 900, "n": 1}]}
    message = {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "1", "type": "function", "function": {"name": "write", "arguments": json.dumps(arguments)}}
        ],
    }
    (entry,) = squeeze([new_entry("assistant", message, estimate_message(message))], 10)
    shorter = json.loads(calls_of(entry)[0]["function"]["arguments"])
    assert shorter["path"] == "a.py"
    assert shorter["content"].startswith("x = 1")
    assert "removed to save room" in shorter["content"]
    assert shorter["deep"][0]["n"] == 1
    assert json.loads(message["tool_calls"][0]["function"]["arguments"]) == arguments, "a copy was changed"  # type: ignore[index]


def test_images_are_the_first_thing_a_stub_takes_away(tmp_path: Path) -> None:
    content = [
        {"type": "text", "text": "plot.png, 640x480"},
        {"blob": "0" * 64, "mime": "image/png", "bytes": 90_000},
    ]
    message = {"role": "tool", "tool_call_id": "1", "name": "read", "content": content}
    entry = new_entry("result", message, estimate_message(message), call_id="1")
    assert entry["tokens"] > 1_000
    (stub,) = squeeze([entry], 100)
    assert "plot.png" in stub["message"]["content"]
    assert stub["tokens"] < 100
