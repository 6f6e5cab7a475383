from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_intern.configs.sources import Merged, Source, line_of, read_json_source
from ml_intern.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{\n  "a": 1,\n  oops\n}', ":3:3: not valid JSON"),
        ('{"a": 1,}', ":1:"),
        ("", ":1:1: not valid JSON"),
        ("[1]", ":1: settings must be a JSON object, not list"),
        ('{"policy": 1, "policy": 2}', "'policy' stands twice"),
        ('{"max_cost": NaN}', "NaN is not a JSON number"),
        ("[" * 100_000, "not usable"),
    ],
    ids=["word", "comma", "empty", "list", "twice", "nan", "deep"],
)
def test_a_broken_file_is_named_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        read_json_source(path)
    assert str(error.value).startswith(str(path))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_text_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(b'{"a": "\xff"}')
    with pytest.raises(UserError, match="not UTF-8"):
        read_json_source(path)


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_json_source(path).values == {"a": 1}


def test_objects_merge_and_lists_and_scalars_are_replaced() -> None:
    merged = Merged()
    merged.lay(Source("one", {"a": {"x": 1, "y": [1, 2]}, "b": 1, "c": {"d": 1}}))
    merged.lay(Source("two", {"a": {"y": [3]}, "c": 7}))
    merged.lay(Source("three", {"c": {"e": 2}}))
    assert merged.values == {"a": {"x": 1, "y": [3]}, "b": 1, "c": {"e": 2}}
    owners = {
        path: owner.label
        for path in [("a", "x"), ("a", "y"), ("b",), ("c",)]
        if (owner := merged.owner(path))
    }
    assert owners == {("a", "x"): "one", ("a", "y"): "two", ("b",): "one", ("c",): "three"}


keys = st.text(alphabet='ab"\\{}[]:,é \n', max_size=4)
trees = st.recursive(
    st.none() | st.integers() | st.text(alphabet='ab"{}[]:,\\', max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=12,
)


def _paths(tree: Any, above: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    if isinstance(tree, dict):
        own = [(*above, key) for key in tree]
        return own + [path for key, item in tree.items() for path in _paths(item, (*above, key))]
    if isinstance(tree, list):
        return [path for index, item in enumerate(tree) for path in _paths(item, (*above, index))]
    return []


@given(st.dictionaries(keys, trees, max_size=4))
def test_every_key_of_any_json_is_found_on_its_line(tree: dict[str, Any]) -> None:
    text = json.dumps(tree, indent=1)
    lines = text.split("\n")
    for path in _paths(tree):
        line = line_of(text, path)
        assert line is not None
        assert lines[line - 1].lstrip().startswith(json.dumps(path[-1]) + ":")


def test_a_list_element_has_the_line_of_its_list() -> None:
    assert line_of('{"a": 1,\n"b": [\n1,\n2]}', ("b", 1)) == 2
    assert line_of("{}", ("a",)) is None
