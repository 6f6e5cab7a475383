from __future__ import annotations

import asyncio
import json
import os
import shutil
from typing import TYPE_CHECKING

import pytest

from ml_intern.tools.search_worker import glob_pattern, matcher

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from ml_intern.tools.base import ToolContext, ToolResult
    from ml_intern.tools.registry import ToolRouter

    Call = Callable[..., Awaitable[ToolResult]]


@pytest.fixture
def tree(context: ToolContext) -> Path:
    files = {
        "a.py": "import os\ndef train():\n    pass\n# Train\n",
        "src/b.py": "train()\r\n",
        "src/deep/c.ts": "train\n",
        "data.bin": "train\x00",
        ".hidden/d.py": "train\n",
        "node_modules/e.py": "train\n",
        "notes é.md": "Straße\n",
    }
    for at, (name, text) in enumerate(files.items()):
        path = context.cwd / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
        os.utime(path, (at, at))
    return context.cwd


@pytest.fixture
def no_ripgrep(context: ToolContext, tmp_path: Path) -> ToolContext:
    """The same context without ripgrep on the path."""
    (tmp_path / "bin").mkdir()
    return type(context)(
        context.call_id, context.cwd, context.spill_dir, {"PATH": str(tmp_path / "bin")}, {}, context.log
    )


async def grep(router: ToolRouter, world: ToolContext, /, **arguments: object) -> ToolResult:
    return await router.run(router.parse("grep", json.dumps(arguments)), world)


async def test_matching_lines_come_with_file_and_number(
    router: ToolRouter, no_ripgrep: ToolContext, tree: Path
) -> None:
    result = await grep(router, no_ripgrep, pattern="train")
    assert sorted(str(result.content).split("\n")) == [
        "a.py:2:def train():",
        "src/b.py:1:train()",
        "src/deep/c.ts:1:train",
    ]


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        ({"pattern": "train", "output_mode": "files"}, ["a.py", "src/b.py", "src/deep/c.ts"]),
        (
            {"pattern": "train", "case_insensitive": True, "output_mode": "count"},
            ["a.py:2", "src/b.py:1", "src/deep/c.ts:1"],
        ),
        ({"pattern": "train", "glob": "*.py"}, ["a.py:2:def train():", "src/b.py:1:train()"]),
        ({"pattern": "train", "glob": "src/**/*.{ts,js}"}, ["src/deep/c.ts:1:train"]),
        ({"pattern": "train", "path": "src"}, ["b.py:1:train()", "deep/c.ts:1:train"]),
        (
            {"pattern": "^    pass$", "context": 1},
            ["a.py-2-def train():", "a.py:3:    pass", "a.py-4-# Train"],
        ),
        ({"pattern": "STRASSE|stra\u00dfe", "case_insensitive": True}, ["notes \u00e9.md:1:Stra\u00dfe"]),
        ({"pattern": "nowhere"}, ["No line matches 'nowhere'."]),
    ],
)
async def test_searches(
    router: ToolRouter, no_ripgrep: ToolContext, tree: Path, arguments: dict[str, object], lines: list[str]
) -> None:
    result = await grep(router, no_ripgrep, **arguments)
    assert result.ok
    assert sorted(str(result.content).split("\n")) == sorted(lines)


@pytest.mark.skipif(shutil.which("rg") is None, reason="ripgrep is not installed")
@pytest.mark.parametrize(
    "arguments",
    [
        {"pattern": r"train\(\)$"},
        {"pattern": "train", "output_mode": "files"},
        {"pattern": "train", "output_mode": "count"},
        {"pattern": "pass", "context": 1},
        {"pattern": "TRAIN", "case_insensitive": True, "glob": "src/**"},
        {"pattern": "nowhere"},
    ],
)
async def test_ripgrep_and_the_search_of_our_own_say_the_same(
    router: ToolRouter,
    context: ToolContext,
    no_ripgrep: ToolContext,
    tree: Path,
    arguments: dict[str, object],
) -> None:
    ours = await grep(router, no_ripgrep, **arguments)
    (tree / "node_modules" / "e.py").unlink()  # ripgrep leaves it out only where git does
    theirs = await grep(router, context, **arguments)
    assert theirs.content == ours.content


async def test_one_file_may_be_searched(router: ToolRouter, no_ripgrep: ToolContext, tree: Path) -> None:
    result = await grep(router, no_ripgrep, pattern="train", path=".hidden/d.py")
    assert str(result.content).endswith("d.py:1:train")


async def test_blocks_with_context_are_kept_apart(
    router: ToolRouter, no_ripgrep: ToolContext, tree: Path
) -> None:
    (tree / "x.txt").write_text("".join(f"{number}\n" for number in range(1, 21)))
    result = await grep(router, no_ripgrep, pattern="^(3|4|15)$", path="x.txt", context=1)
    shown = [line.removeprefix(str(tree / "x.txt")) for line in str(result.content).split("\n")]
    assert shown == ["-2-2", ":3:3", ":4:4", "-5-5", "--", "-14-14", ":15:15", "-16-16"]


async def test_what_git_ignores_is_left_out(router: ToolRouter, no_ripgrep: ToolContext, tree: Path) -> None:
    process = await asyncio.create_subprocess_exec("git", "init", "-q", cwd=tree)
    assert await process.wait() == 0
    (tree / ".gitignore").write_text("src/\n*.bin\nnode_modules\n")
    result = await grep(router, no_ripgrep, pattern="train", output_mode="files")
    assert result.content == "a.py"


async def test_a_wrong_expression_is_one_line(
    router: ToolRouter, no_ripgrep: ToolContext, tree: Path
) -> None:
    result = await grep(router, no_ripgrep, pattern="(")
    assert not result.ok
    assert str(result.content).startswith("'(' is no regular expression: missing )")
    assert "\n" not in str(result.content)


async def test_more_lines_than_wanted_are_told(
    router: ToolRouter, no_ripgrep: ToolContext, tree: Path
) -> None:
    (tree / "many.txt").write_text("match\n" * 100_000)
    result = await grep(router, no_ripgrep, pattern="match", head_limit=3)
    assert str(result.content).count("many.txt:") == 3
    assert "the first 3 lines of more" in str(result.content)
    (tree / "wide.txt").write_text("wide" + "x" * 5_000 + "\n")
    assert len((await grep(router, no_ripgrep, pattern="wide")).content) < 700


async def test_an_expression_that_takes_for_ever_stops_neither_the_loop_nor_the_cancelling(
    router: ToolRouter, no_ripgrep: ToolContext, tree: Path
) -> None:
    (tree / "slow.txt").write_text("a" * 40 + "\n")
    task = asyncio.ensure_future(grep(router, no_ripgrep, pattern="(a+)+$b", path="slow.txt"))
    await asyncio.sleep(0.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_missing_directory_is_told(call: Call, tree: Path) -> None:
    assert "Near:" in str((await call("grep", pattern="x", path="scr")).content)
    assert "Near:" in str((await call("glob", pattern="*", path="scr")).content)


@pytest.mark.parametrize(
    ("pattern", "files"),
    [
        ("*.py", ["a.py"]),
        ("**/*.py", ["src/b.py", "a.py"]),
        ("src/**", ["src/deep/c.ts", "src/b.py"]),
        ("**/[bc].{py,ts}", ["src/deep/c.ts", "src/b.py"]),
        (".hidden/*", [".hidden/d.py"]),
        ("node_modules/**/*.py", ["node_modules/e.py"]),
        ("notes ?.md", ["notes é.md"]),
    ],
)
async def test_files_are_found_newest_first(call: Call, tree: Path, pattern: str, files: list[str]) -> None:
    assert str((await call("glob", pattern=pattern)).content).split("\n") == files


async def test_more_files_than_wanted_are_told(call: Call, tree: Path) -> None:
    assert "the first 1 files of more" in str((await call("glob", pattern="**/*", limit=1)).content)
    assert (await call("glob", pattern="*.none")).content == "No file matches '*.none'."


@pytest.mark.parametrize(
    ("glob", "yes", "no"),
    [
        ("*.py", ["a.py", ".py"], ["a.pyc", "b/a.py"]),
        ("**/*.py", ["a.py", "x/y/a.py"], ["a.txt"]),
        ("a/**/b", ["a/b", "a/x/y/b"], ["a/xb"]),
        ("[!a]*", ["b"], ["a"]),
        ("{a,b{c,d}}", ["a", "bc", "bd"], ["b", "c"]),
        ("a+(b).c", ["a+(b).c"], ["aab.c"]),
        ("[", ["["], ["a"]),
        ("{a", ["{a"], ["a"]),
    ],
)
def test_globs(glob: str, yes: list[str], no: list[str]) -> None:
    pattern = glob_pattern(glob)
    assert [name for name in yes + no if pattern.match(name)] == yes


def test_a_glob_without_a_slash_is_about_names() -> None:
    assert matcher("*.py")("a/b/c.py")
    assert not matcher("a/*.py")("b/a/c.py")
