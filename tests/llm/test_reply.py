from __future__ import annotations

import json

from ml_intern.llm.reply import checked_arguments


def test_line_breaks_a_model_forgot_to_escape_are_taken_for_what_they_mean() -> None:
    checked = checked_arguments('{"content": "a\nb\tc"}')
    assert checked is not None
    assert json.loads(checked) == {"content": "a\nb\tc"}
