"""What linters cannot hold: where imports may point, how long things are, and what stays unloaded."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
RANKS = {"cli": 0, "gateways": 1, "threads": 2, "graphs": 3, "nodes": 4, "tools": 5, "llm": 5, "configs": 6}
"""Imports point from a smaller number to a larger one; rooms of one number do not know each other."""
FOR_EVERYONE = {"errors", "events", "graphs.state"}
CHECKED = (*RANKS, "errors", "events", "tests", "benchmarks", "scripts", "examples")
FILE_LINES, FUNCTION_LINES, NESTING = 400, 60, 3
VAGUE = {"utils", "util", "helpers", "helper", "common", "core", "misc", "manager", "managers"}
BLOCKS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.Try, ast.TryStar, ast.Match)
"""What counts as a level: a `with` opens no branch."""
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
HEAVY = {
    *("aiosqlite", "httpx", "huggingface_hub", "langchain_core", "langgraph", "litellm", "openai"),
    *("prompt_toolkit", "pydantic", "rich", "sqlalchemy"),
}


class Arrow(NamedTuple):
    """One import from a file of the package into the package, both as dotted names below it."""

    file: Path
    line: int
    target: str


def sources() -> list[Path]:
    files = [ROOT / f"{name}.py" for name in CHECKED if (ROOT / f"{name}.py").exists()]
    for name in CHECKED:
        files += sorted((ROOT / name).rglob("*.py"))
    return files


def packaged() -> list[Path]:
    return [file for file in sources() if room(file) in {*RANKS, "errors", "events"}]


def room(file: Path) -> str:
    return file.relative_to(ROOT).parts[0].removesuffix(".py")


def module(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts)


@cache
def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_bytes())


def arrows(file: Path) -> Iterator[Arrow]:
    """Imports inside the package, those of type checkers too."""
    for node in ast.walk(parsed(file)):
        yield from arrows_of(node, file)


def arrows_of(node: ast.AST, file: Path) -> Iterator[Arrow]:
    if isinstance(node, ast.Import):
        inside = [name.name for name in node.names if name.name.split(".")[0] == "ml_intern"]
        yield from (Arrow(file, node.lineno, name.partition(".")[2]) for name in inside)
    elif isinstance(node, ast.ImportFrom) and (base := origin(node, file)) is not None:
        targets = [f"{base}.{name.name}".lstrip(".") for name in node.names]
        yield from (Arrow(file, node.lineno, name if is_module(name) else base) for name in targets)


def origin(node: ast.ImportFrom, file: Path) -> str | None:
    """The dotted name after `from`, below the package; None when it is another package."""
    if not node.level:
        package, _, inside = (node.module or "").partition(".")
        return inside if package == "ml_intern" else None
    here = file.relative_to(ROOT).parent.parts
    return ".".join([*here[: len(here) - node.level + 1], *([node.module] if node.module else [])])


def is_module(dotted: str) -> bool:
    path = ROOT.joinpath(*dotted.split("."))
    return path.is_dir() or path.with_suffix(".py").exists()


def is_allowed(arrow: Arrow) -> bool:
    own, target = room(arrow.file), arrow.target.split(".")[0]
    if arrow.target in FOR_EVERYONE or own == target:
        return True
    return own in RANKS and target in RANKS and RANKS[own] < RANKS[target]


def functions(file: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(parsed(file)):
        if isinstance(node, FUNCTIONS):
            yield node


def nesting(node: ast.AST) -> int:
    """Blocks inside blocks of one function; `elif` is as deep as its `if`, an inner function counts alone."""
    deepest = 0
    for name, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or isinstance(child, (*FUNCTIONS, ast.ClassDef)):
                continue
            is_elif = name == "orelse" and isinstance(node, ast.If) and isinstance(child, ast.If)
            own = 1 if isinstance(child, BLOCKS) and not (is_elif and len(value) == 1) else 0
            deepest = max(deepest, own + nesting(child))
    return deepest


def test_imports_point_one_way() -> None:
    found = [arrow for file in packaged() for arrow in arrows(file)]
    wrong = [
        f"{module(arrow.file)}:{arrow.line} -> {arrow.target}" for arrow in found if not is_allowed(arrow)
    ]
    assert len(found) > 100, "the check must see the package's imports"
    assert not wrong


@pytest.mark.parametrize(
    ("file", "text", "allowed"),
    [
        ("nodes/x.py", "from ..tools.base import Tool", True),
        ("nodes/x.py", "from ..graphs.state import AgentState", True),
        ("nodes/x.py", "from ..graphs.agent import build_agent", False),
        ("nodes/x.py", "from ..graphs import agent", False),
        ("tools/files/x.py", "from ...llm.reply import Reply", False),
        ("tools/files/x.py", "from ..base import Tool", True),
        ("tools/x.py", "from ..events import now", True),
        ("threads/x.py", "from ..gateways.run import run", False),
        ("configs/x.py", "import ml_intern.cli", False),
        ("events.py", "from .configs.home import user_home", False),
    ],
)
def test_the_direction_check_knows_right_from_wrong(file: str, text: str, allowed: bool) -> None:
    (node,) = ast.parse(text).body
    targets = list(arrows_of(node, ROOT / file))
    assert [is_allowed(arrow) for arrow in targets] == [allowed]


def test_no_module_imports_a_room_by_its_bare_name() -> None:
    """`import tools` would take whatever directory of that name the person's project has."""
    bare = []
    for file in sources():
        for node in ast.walk(parsed(file)):
            names = [name.name for name in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            bare += [f"{module(file)}: {name}" for name in names if name.split(".")[0] in {*RANKS, "tests"}]
    assert not bare


def test_no_file_is_longer_than_400_lines() -> None:
    long = {
        module(file): count
        for file in sources()
        if (count := len(file.read_text().splitlines())) > FILE_LINES
    }
    assert not long


def test_no_function_is_longer_than_60_lines() -> None:
    long = [
        f"{module(file)}.{node.name}: {lines}"
        for file in sources()
        for node in functions(file)
        if (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES
    ]
    assert not long


def test_no_block_is_nested_deeper_than_three() -> None:
    deep = [
        f"{module(file)}.{node.name}: {depth}"
        for file in sources()
        for node in functions(file)
        if (depth := nesting(node)) > NESTING
    ]
    assert not deep


def test_nesting_counts_blocks_and_neither_elif_nor_inner_functions() -> None:
    text = """
def outer(items):
    if items:
        pass
    elif len(items) > 1:
        pass
    else:
        for item in items:
            with item:
                try:
                    def inner():
                        while True:
                            if item:
                                pass
                finally:
                    pass
"""
    assert nesting(ast.parse(text).body[0]) == 3


def test_no_name_says_nothing() -> None:
    vague = [
        str(file.relative_to(ROOT)) for file in sources() if set(file.stem.strip("_").split("_")) & VAGUE
    ]
    rooms = [str(file.parent.relative_to(ROOT)) for file in sources() if file.parent.name in VAGUE]
    assert not vague
    assert not rooms


def test_the_command_line_loads_without_anything_heavy() -> None:
    code = f"import sys, ml_intern.cli; print(*sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.anchor
    )
    assert done.stdout.split() == []
