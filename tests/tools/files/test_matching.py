from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_intern.tools.files.matching import Folded, closest, find

NBSP, ZERO = "\u00a0", "\u200b"


def plain(text: str) -> str:
    """What is left of a text without white space and typography."""
    return "".join(Folded(text).text.split())


def test_an_exact_match_is_taken_before_any_other() -> None:
    assert [(place.start, place.end, place.how) for place in find("a  b\na b\n", "a b")] == [(5, 8, "exact")]


def test_occurrences_do_not_overlap() -> None:
    assert [place.start for place in find("aaaa", "aa")] == [0, 2]


@pytest.mark.parametrize(
    ("text", "pattern", "found"),
    [
        ("x = 1\n    foo( a )\ny = 2\n", "foo( a )   ", "    foo( a )"),
        ("    if a:\n        b()\n", "if a:\n    b()", "    if a:\n        b()"),
        ("\tif a:\n\t\tb()\n", "    if a:\n        b()", "\tif a:\n\t\tb()"),
        ("a =  1  \nb = 2\n", "a = 1\nb = 2", "a =  1  \nb = 2"),
        ("a\n   \nb\n", "a\n\nb", "a\n   \nb"),
        ("a  \nb\n", "a\n", "a  \n"),
        ("a\nb", "a \nb\n", None),
        ("b\na", "c\nb \na", None),
        ("a  \nb\n", " a\n", "a  \n"),
    ],
)
def test_white_space_may_differ_in_blocks_of_whole_lines(text: str, pattern: str, found: str | None) -> None:
    places = [place for place in find(text, pattern) if place.how != "exact"]
    if found is None:
        assert places == []
    else:
        assert [text[place.start : place.end] for place in places] == [found]


def test_a_part_of_a_line_is_never_taken_for_the_line() -> None:
    assert find("x = foo(a) + 1  # keep me\n", "foo(a)   ") == []


def test_several_blocks_are_all_found() -> None:
    text = "  a\n  b\nx\n    a\n    b\n"
    assert len(find(text, "a\nb")) == 2


@pytest.mark.parametrize(
    ("text", "pattern", "found"),
    [
        ("print(\u201chi\u201d)  # x", 'print("hi")', "print(\u201chi\u201d)"),
        ('print("hi")', "print(\u201chi\u201d)", 'print("hi")'),
        (f"a{NBSP}= 1", "a = 1", f"a{NBSP}= 1"),
        ("it\u2019s a \u2013 b", "it's a - b", "it\u2019s a \u2013 b"),
        (f"x{ZERO}a{ZERO}b{ZERO}y", "ab", f"a{ZERO}b"),
        ("cafe\u0301 au lait", "caf\u00e9", "cafe\u0301"),
        ("so\u2026 on", "so... on", "so\u2026 on"),
        ("so\u2026 on", ".. on", None),
        ("e\u0301", "e", "e"),
    ],
)
def test_typography_may_differ_anywhere_in_a_line(text: str, pattern: str, found: str | None) -> None:
    assert [text[place.start : place.end] for place in find(text, pattern)] == ([found] if found else [])


def test_typography_and_white_space_may_differ_together() -> None:
    text = "    say(\u201chi\u201d)\n    bye()\n"
    (place,) = find(text, 'say("hi")\nbye()')
    assert text[place.start : place.end] == text[:-1]
    assert place.indent is not None
    assert place.indent.apply("a\n  b") == "    a\n      b"


@pytest.mark.parametrize(
    ("text", "pattern", "new", "expected"),
    [
        (
            "    if a:\n        b()\n",
            "if a:\n    b()",
            "if c:\n    d()\n\n    e()",
            "    if c:\n        d()\n\n        e()",
        ),
        ("if a:\n    b()\n", "    if a:\n        b()", "    c()\n        d()", "c()\n    d()"),
        ("\tif a:\n\t\tb()\n", "    if a:\n        b()", "    c()\n        d()", "\tc()\n\t\td()"),
        ("\tif a:\n\t\tb()\n", "    if a:\n        b()", "  c()", None),
        ("    a\n    b\n", "        a\n        b", "c", None),
        ("a\n  b\nc\n", "    a\n    b\n    c", "    x", None),
    ],
    ids=["added", "removed", "tabs", "tabs, unknown depth", "less than is removed", "no common offset"],
)
def test_new_text_is_shifted_as_the_old_was_or_not_at_all(
    text: str, pattern: str, new: str, expected: str | None
) -> None:
    (place,) = find(text, pattern)
    assert place.indent is not None
    assert place.indent.apply(new) == expected


def test_a_pattern_that_starts_behind_the_indentation_keeps_it() -> None:
    text = "class A:\n        def f():\n            return 1\n"
    (place,) = find(text, "def f():\n            return 1  ")
    assert text[place.start : place.end] == "def f():\n            return 1"
    assert place.indent is not None
    assert place.indent.apply("def g():\n            return 2") == "def g():\n            return 2"


@pytest.mark.parametrize("pattern", ["\n", "   ", "\t\n ", ZERO])
def test_white_space_alone_is_found_only_exactly(pattern: str) -> None:
    assert find("a b", pattern) == []


LETTERS = st.text(alphabet=f'ab \t\n\u201c"\u2013-{NBSP}{ZERO}\u2026e\u0301', max_size=30)


@given(
    before=LETTERS,
    middle=LETTERS,
    after=LETTERS,
    noise=st.lists(st.sampled_from(["", " ", "\t", ZERO]), max_size=40),
)
def test_a_place_is_never_wider_than_what_was_matched(
    before: str, middle: str, after: str, noise: list[str]
) -> None:
    pattern = "".join(char + extra for char, extra in zip(middle, noise + [""] * 40, strict=False))
    if not pattern:
        return
    text = before + middle + after
    places = find(text, pattern)
    end = 0
    for place in places:
        assert end <= place.start < place.end <= len(text)
        assert plain(text[place.start : place.end]) == plain(pattern)
        end = place.end
    if pattern == middle:
        assert places
        assert all(place.how == "exact" for place in places)


@given(LETTERS)
def test_folding_leaves_every_place_of_plain_text_where_it_is(text: str) -> None:
    folded = Folded(text)
    for place in find(folded.text, "a"):
        (back,) = folded.back([place])
        assert text[back.start : back.end] == "a"


def test_the_closest_lines_to_a_text_that_is_not_there_are_named() -> None:
    text = "one\ndef train(model, data):\n    step(model)\nend\n"
    assert closest(text, "def train(model, dataset):\n    step(model)") == (2, 3)
    assert closest(text, "nothing like it at all") is None
