from __future__ import annotations

import pytest

from ml_intern.errors import UsageError, UserError
from ml_intern.threads.ids import check_id, new_id, resolve

KNOWN = ["abc", "abcdef", "abd", "xyz123"]


def test_new_ids_are_short_valid_and_not_the_same() -> None:
    made = {new_id() for _ in range(200)}
    assert len(made) == 200
    assert all(len(one) == 8 and check_id(one) == one for one in made)
    assert not set("".join(made)) & set("il1o0")


@pytest.mark.parametrize(
    ("text", "meant"), [("abc", "abc"), ("abcd", "abcdef"), ("x", "xyz123"), ("abd", "abd")]
)
def test_an_id_or_a_unique_beginning_of_one_is_enough(text: str, meant: str) -> None:
    assert resolve(text, KNOWN) == meant


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ab", "begins several threads: abc, abcdef, abd"),
        ("xyz124", "No thread 'xyz124'; did you mean xyz123"),
        ("nothing-like-it", "No thread 'nothing-like-it'; see"),
        ("", "No thread ''"),
        ("ABC", "No thread 'ABC'"),
    ],
)
def test_what_is_none_or_several_is_an_error_that_helps(text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        resolve(text, KNOWN)


@pytest.mark.parametrize("text", ["", "../up", "a b", "-x", ".hidden", "a/b", "é", "a" * 65, "a\n"])
def test_an_id_that_files_or_shells_would_trip_over_is_wrong_usage(text: str) -> None:
    with pytest.raises(UsageError, match="cannot be a thread id"):
        check_id(text)


@pytest.mark.parametrize("text", ["a", "My-thread_2.0", "a" * 64])
def test_other_ids_are_the_persons_own_choice(text: str) -> None:
    assert check_id(text) == text
