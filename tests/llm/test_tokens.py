"""Estimates: cheap, the same every time, not far off, and corrected by providers."""

from __future__ import annotations

from typing import Any

import pytest

from ml_intern.llm.tokens import IMAGE_TOKENS, calibrate, estimate_message, estimate_text, estimate_tools

PROSE = "The quick brown fox jumps over the lazy dog, and nobody minds. " * 50


def test_prose_is_about_a_token_for_three_and_a_half_characters() -> None:
    assert len(PROSE) / 4.5 < estimate_text(PROSE) < len(PROSE) / 3


def test_chinese_is_about_a_token_a_character() -> None:
    text = "机器学习工程师" * 100
    assert 0.6 * len(text) < estimate_text(text) < 1.4 * len(text)


def test_a_lone_surrogate_can_be_counted() -> None:
    assert estimate_text("a\ud83eb") > 0


def test_an_image_counts_the_same_whatever_its_size() -> None:
    def with_image(size: int) -> dict[str, Any]:
        url = "data:image/png;base64," + "A" * size
        return {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}

    assert estimate_message(with_image(10)) == estimate_message(with_image(1_000_000))
    stored = {"role": "tool", "content": [{"blob": "ab", "mime": "image/png", "bytes": 9}]}
    assert estimate_message(stored) >= IMAGE_TOKENS


def test_calls_and_thinking_count_once() -> None:
    plain = estimate_message({"role": "assistant", "content": PROSE})
    call = {"id": "1", "type": "function", "function": {"name": "write", "arguments": PROSE}}
    assert estimate_message({"role": "assistant", "content": None, "tool_calls": [call]}) == pytest.approx(
        plain, abs=12
    )
    thinking = {"thinking_blocks": [{"type": "thinking", "thinking": PROSE}], "reasoning_content": PROSE}
    assert estimate_message({"role": "assistant", "content": None, **thinking}) == plain


def test_tools_count_by_their_schemas() -> None:
    assert estimate_tools(None) == 0
    tool = {"type": "function", "function": {"name": "x", "description": PROSE}}
    assert estimate_tools([tool, tool]) == pytest.approx(2 * estimate_tools([tool]), abs=2)


def test_the_reported_usage_sets_the_factor_within_bounds() -> None:
    assert calibrate(1000, 1250) == 1.25
    assert calibrate(1000, 100_000) == 3.0
    assert calibrate(1000, 1) == 0.4
    assert calibrate(0, 10) == calibrate(10, 0) == 1.0
