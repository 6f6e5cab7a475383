from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_intern.tools.files.diff import DIFFED_LINES, SHOWN_CHARS, unified

LINES = st.lists(st.sampled_from(["a\n", "b\n", "\n", "c d\n", "-\n"]), max_size=20).map("".join)


def patched(text: str, diff: str) -> str:
    """Apply a diff, trusting nothing in it."""
    old, new = text.split("\n"), []
    at = 0
    for line in diff.split("\n")[2:]:
        if line.startswith("@@ -"):
            first, _, count = line.split(" ")[1][1:].partition(",")
            start = int(first) - (count != "0")
            assert start >= at
            new += old[at:start]
            at = start
        elif line[0] == "+":
            new.append(line[1:])
        else:
            assert old[at] == line[1:]
            at += 1
            new += [line[1:]] if line[0] == " " else []
    return "\n".join(new + old[at:])


@given(LINES, LINES)
def test_a_diff_leads_from_the_one_text_to_the_other(before: str, after: str) -> None:
    diff = unified(before, after, "x")
    assert bool(diff) == (before != after)
    if diff:
        assert patched(before, diff) == after


@given(LINES, st.integers(0, 20), LINES)
def test_a_diff_of_one_change_shows_no_more_than_its_surroundings(before: str, line: int, put: str) -> None:
    lines = before.splitlines(keepends=True)
    after = "".join([*lines[:line], put, *lines[line + 1 :]])
    shown = [text for text in unified(before, after, "x").split("\n")[2:] if text.startswith("+")]
    around = 2 * 4 + 1  # the lines given back at both ends, and one that has no line end
    assert len(shown) <= put.count("\n") + around


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        ("a", "b", "-a\n\\ No newline at end of file\n+b\n\\ No newline at end of file"),
        ("a\n", "a", "-a\n+a\n\\ No newline at end of file"),
        ("", "a\n", "+a"),
        ("a\r\nb\r\n", "a\r\nc\r\n", " a\n-b\n+c"),
        ("a\r\n", "a\n", "-a\r\n+a"),
    ],
)
def test_ends_of_files_and_lines_are_told(before: str, after: str, changed: str) -> None:
    assert unified(before, after, "x").split("\n", 3)[3] == changed


def test_a_change_deep_in_a_file_has_its_line_numbers() -> None:
    lines = [f"line {number}\n" for number in range(1, 10_001)]
    after = [*lines[:8_999], "new\n", *lines[9_000:]]
    assert "@@ -8997,7 +8997,7 @@" in unified("".join(lines), "".join(after), "x")


def test_a_change_of_everything_is_told_by_its_size() -> None:
    before = "".join(f"{number}\n" for number in range(DIFFED_LINES))
    assert unified(before, before.replace("\n", "x\n"), "x").endswith(
        f"[about {DIFFED_LINES:,} lines from line 1 on became {DIFFED_LINES:,}]"
    )
    wide = "".join(f"{number} {'w' * 100}\n" for number in range(500))
    assert len(unified(wide, wide.replace("w\n", "v\n"), "x")) < SHOWN_CHARS + 100
