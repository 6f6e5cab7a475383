from __future__ import annotations

import json
from pathlib import Path

import pytest

from ml_intern.configs import notes as notes_module
from ml_intern.configs.notes import NOTE_NAMES, NoteName, needed_values, note


def test_the_data_file_has_exactly_the_notes_the_code_knows() -> None:
    data = json.loads((Path(notes_module.__file__).parent / "prompts" / "notes.json").read_text())
    assert sorted(data) == sorted(NOTE_NAMES)


@pytest.mark.parametrize("name", NOTE_NAMES)
def test_every_note_carries_its_values_and_nothing_unfilled(name: NoteName) -> None:
    values: dict[str, object] = {key: f"<{key}>" for key in needed_values(name)}
    text = note(name, **values)
    assert "$" not in text
    for value in values.values():
        assert str(value) in text


def test_a_missing_value_is_a_bug() -> None:
    with pytest.raises(KeyError):
        note("repetition", tool="bash")


def test_a_list_is_cut_after_four_items() -> None:
    text = note("plan_unfinished", items=["one\ntwo", "b" * 500, "c", "d", "e", "f"])
    assert "one two; " in text
    assert "; d; and 2 more." in text
    assert len(text) < 500


def test_values_are_taken_as_they_are_but_for_control_characters() -> None:
    text = note("refused_with_feedback", tool="bash", feedback="use $HOME\n\x1b[31mnot ${X}")
    assert "use $HOME\n[31mnot ${X}" in text
