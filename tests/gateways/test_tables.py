from __future__ import annotations

import io
import subprocess
import sys

from ml_intern.gateways.tables import plain_table, print_table
from ml_intern.tests.gateways.terminal import terminal


def test_plain_text_is_aligned_numbers_to_the_right_one_line_a_row() -> None:
    out = io.StringIO()
    print_table(["id", "title", "usd"], [["a1", "two\nlines \x1b[31mred", 0.5], ["b", None, 12]], out)
    assert out.getvalue() == (
        "id  title          usd\n"  # aligned by the widest cell
        "a1  two lines red  0.5\n"
        "b                   12\n"
    )


def test_wide_and_combining_characters_count_as_the_columns_they_take() -> None:
    text = plain_table(["a", "b"], [["日本", "x"], ["e\u0301", "x"], ["abcd", "x"]])
    assert text == "a     b\n日本  x\ne\u0301     x\nabcd  x\n"


def test_nothing_is_cut_when_it_is_no_terminal() -> None:
    out = io.StringIO()
    print_table(["title"], [["x" * 500]], out)
    assert "x" * 500 in out.getvalue()


def test_no_rows_are_one_line_or_nothing() -> None:
    out = io.StringIO()
    print_table(["a"], [], out)
    assert out.getvalue() == ""
    print_table(["a"], [], out, empty="No threads yet.")
    assert out.getvalue() == "No threads yet.\n"


def test_in_a_terminal_markup_in_titles_is_shown_as_it_is() -> None:
    with terminal() as (stream, screen):
        print_table(["id", "title"], [["a", "[bold]x[/data/y]"]], stream, env={"NO_COLOR": "1"})
    assert "[bold]x[/data/y]" in screen.text


def test_rich_is_not_loaded_for_plain_text() -> None:
    code = (
        "import sys\nfrom ml_intern.gateways.tables import print_table\n"
        "print_table(['a'], [['b']], sys.stdout)\nassert 'rich' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "a\nb\n"
