from __future__ import annotations

from typing import Any

import pytest

from ml_intern.events import EVENT_NAMES, Event
from ml_intern.gateways.progress import call_summary, one_line, progress_lines


@pytest.mark.parametrize("name", sorted(EVENT_NAMES))
@pytest.mark.parametrize("verbose", [True, False])
def test_no_event_is_too_bare_to_be_shown(name: Any, verbose: bool) -> None:
    for line in progress_lines(Event(1, None, name, "now", {}), verbose=verbose):
        assert "\n" not in line


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ({}, "tool"),
        (None, "tool"),
        ({"timeout": 3, "command": "a  b\n c"}, "tool: a b c"),
        ({"a": 1, "b": [2]}, "tool: a=1, b=[2]"),
        ({"path": "x\x1b[31m\u202a"}, "tool: x\u202a"),
    ],
)
def test_a_call_is_summed_up_by_its_telling_argument(arguments: Any, shown: str) -> None:
    assert call_summary("tool", arguments) == shown


def test_long_text_is_cut_to_the_width() -> None:
    assert one_line("x" * 500, 10) == "xxxxxxx..."
    assert one_line("x" * 10, 10) == "x" * 10
