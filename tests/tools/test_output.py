from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest

from ml_intern.tools.output import (
    HEAD_CHARS,
    LIMIT_CHARS,
    SPILL_LIMIT_BYTES,
    TAIL_CHARS,
    Capture,
    cap,
    spill_path,
)

if TYPE_CHECKING:
    from pathlib import Path


def test_a_text_of_exactly_the_limit_is_left_alone_and_makes_no_file(tmp_path: Path) -> None:
    text = "x" * LIMIT_CHARS
    captured = cap(text, tmp_path / "spill" / "a.txt")
    assert captured.text == text
    assert captured.details() == {}
    assert not (tmp_path / "spill").exists()


@pytest.mark.parametrize("piece_chars", [1, 997, 30_000, 1_000_000])
def test_head_and_tail_stay_and_the_whole_is_in_a_private_file(tmp_path: Path, piece_chars: int) -> None:
    text = "".join(f"line {number} é\n" for number in range(5_000))
    capture = Capture(tmp_path / "spill" / "a.txt")
    for start in range(0, len(text), piece_chars):
        capture.feed(text[start : start + piece_chars])
    captured = capture.finish()
    assert captured.text.startswith(text[:HEAD_CHARS] + "\n\n[")
    assert captured.text.endswith("]\n\n" + text[-TAIL_CHARS:])
    assert captured.omitted_chars == len(text) - LIMIT_CHARS
    assert f"{captured.omitted_chars:,} of {len(text):,} characters" in captured.text
    assert captured.spill is not None
    assert str(captured.spill) in captured.text
    assert captured.spill.read_text(encoding="utf-8") == text
    assert stat.S_IMODE(captured.spill.stat().st_mode) == 0o600
    assert stat.S_IMODE(captured.spill.parent.stat().st_mode) == 0o700


def test_what_no_wire_takes_is_replaced(tmp_path: Path) -> None:
    assert cap("a\x00b\udcffc", tmp_path / "a.txt").text == "a\ufffdb\ufffdc"


def test_the_file_stops_growing_at_its_limit_and_the_note_says_so(tmp_path: Path) -> None:
    capture = Capture(tmp_path / "a.txt")
    piece = "x" * (8 * 1024 * 1024)
    for _ in range(10):
        capture.feed(piece)
    captured = capture.finish()
    assert captured.total_chars == 10 * len(piece)
    assert (tmp_path / "a.txt").stat().st_size == SPILL_LIMIT_BYTES
    assert f"The first {SPILL_LIMIT_BYTES:,} bytes are in" in captured.text


def test_a_disk_that_refuses_the_file_costs_only_the_middle(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    captured = cap("x" * 30_000, tmp_path / "file" / "a.txt")
    assert "could not be kept on disk" in captured.text
    assert captured.spill is None
    assert captured.text.startswith("x" * HEAD_CHARS)


@pytest.mark.parametrize("call_id", ["../../etc/passwd", "a/b", ".", "x" * 500, "toolu_01:é"])
def test_no_call_id_leads_out_of_the_directory(tmp_path: Path, call_id: str) -> None:
    path = spill_path(tmp_path, call_id)
    assert path.resolve().parent == tmp_path.resolve()
    assert len(path.name) < 120
