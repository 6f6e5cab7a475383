from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_intern.tools.commands import Unparsable, parse


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("a b; c", [["a", "b"], ["c"]]),
        ("a 'b; c' \"d && e\" f\\ g", [["a", "b; c", "d && e", "f g"]]),
        ("a|b|&c&&d||e&f", [["a"], ["b"], ["c"], ["d"], ["e"], ["f"]]),
        ("a # b; c\nd", [["a"], ["d"]]),
        ("a x#y", [["a", "x#y"]]),
        ("a \\\n b", [["a", "b"]]),
        ("cat <<EOF\nrm 'x\nEOF\nb", [["cat"], ["b"]]),
        ("cat <<-'EOF' | b\n\trm\n\tEOF\nc", [["cat"], ["b"], ["c"]]),
        ("if a; then b; else c; fi", [["a"], ["b"], ["c"]]),
        ("(a; b) | c", [["a"], ["b"], ["c"]]),
        ("X=1 a b", [["a", "b"]]),
        ("a >out 2>&1 <in b", [["a", "b"]]),
        ("a 2>/dev/null", [["a"]]),
        ("a $((1 + 2)) b", [["a", "$(...)", "b"]]),
    ],
)
def test_a_command_is_taken_apart(command: str, expected: list[list[str]]) -> None:
    assert [[word.text for word in simple.words] for simple in parse(command)] == expected


def test_substitutions_are_looked_into_wherever_they_stand() -> None:
    commands = parse('a "$(b `c`)" <(d) > "$(e)"; X=$(f) g')
    inner = [simple.words[0].text for command in commands for simple in command.inner()]
    assert inner == ["b", "d", "e", "f"]
    assert commands[0].inner()[0].inner()[0].words[0].text == "c"


def test_a_here_document_in_a_substitution_may_hold_anything() -> None:
    commit = "git commit -m \"$(cat <<'EOF'\nDon't (stop\nEOF\n)\" && b"
    assert [simple.words[0].text for simple in parse(commit)] == ["git", "b"]


def test_pipes_background_and_here_documents_are_marked() -> None:
    first, second, third = parse("a | b <<E &\ntext\nE\nc")
    assert (first.piped, second.piped, third.piped) == (False, True, False)
    assert second.background
    assert second.here == "text"


@pytest.mark.parametrize(
    "command", ["'", '"', "`", "$(", "(a", "a <", "a > ; b", "<(a", "$(" * 50 + ")" * 50]
)
def test_what_is_not_balanced_is_refused(command: str) -> None:
    with pytest.raises(Unparsable):
        parse(command)


@given(st.text(alphabet="ab'\"\\$`(){}<>|&;#\n =*", max_size=40))
def test_no_text_makes_it_fail_otherwise(command: str) -> None:
    try:
        commands = parse(command)
    except Unparsable:
        return
    assert all(simple.words or simple.redirects or simple.assignments for simple in commands)
