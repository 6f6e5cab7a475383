from __future__ import annotations

import asyncio
import hashlib
import json
import stat
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from ml_intern.tools.base import ToolContext, ToolResult
    from ml_intern.tools.registry import ToolRouter

    Call = Callable[..., Awaitable[ToolResult]]


@pytest.fixture
def edited(call: Call, context: ToolContext) -> Callable[..., Awaitable[tuple[ToolResult, bytes]]]:
    """Write a file, read it, edit it, and give the result with the file's new bytes."""

    async def edit(data: bytes, old: str, new: str, **options: Any) -> tuple[ToolResult, bytes]:
        path = context.cwd / "a.txt"
        path.write_bytes(data)
        await call("read", path="a.txt")
        result = await call("edit", path="a.txt", old_str=old, new_str=new, **options)
        return result, path.read_bytes()

    return edit


async def test_the_diff_is_the_result(edited: Any) -> None:
    result, data = await edited(b"a\nb\nc\n", "b", "B")
    assert data == b"a\nB\nc\n"
    assert result.ok
    diff = "--- a.txt\n+++ a.txt\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c"
    assert result.content.endswith(".\n" + diff)
    assert result.details["diff"] == diff


@pytest.mark.parametrize(
    ("data", "old", "new", "expected"),
    [
        (b"a\r\nb\r\nc\r\n", "a\nb", "x\ny\nz", b"x\r\ny\r\nz\r\nc\r\n"),
        (b"a\r\nb\r\n", "b", "x\ny", b"a\r\nx\r\ny\r\n"),
        (b"a\r\nb\r\n", "a\r\nb", "x\r\ny", b"x\r\ny\r\n"),
        (b"a\nb\n", "a\r\nb", "x\r\ny", b"x\ny\n"),
        (b"a\r\nb\nc\r\n", "b\nc", "x\ny", b"a\r\nx\ny\r\n"),
        (b"a\rb\rc", "b", "x\ny", b"a\rx\ry\rc"),
        (b"\xef\xbb\xbfa\nb\n", "a", "x", b"\xef\xbb\xbfx\nb\n"),
        ("\ufeffä\nb\n".encode("utf-16-le"), "ä", "ö", "\ufeffö\nb\n".encode("utf-16-le")),
        (b"caf\xe9\nb\n", "b", "\u00fc", b"caf\xe9\n\xfc\n"),
        (b"a\nb", "b", "x", b"a\nx"),
        (b"a\x0cb\x0b\xe2\x80\xa8c\n", "b", "x", b"a\x0cx\x0b\xe2\x80\xa8c\n"),
    ],
    ids=["crlf", "crlf, one line", "crlf given", "lf kept", "mixed", "cr", "bom", "utf-16", "latin-1",
         "no end", "odd separators"],
)  # fmt: skip
async def test_line_ends_marks_and_encodings_stay(
    edited: Any, data: bytes, old: str, new: str, expected: bytes
) -> None:
    result, after = await edited(data, old, new)
    assert result.ok, result.content
    assert after == expected


async def test_a_character_the_encoding_lacks_is_refused(edited: Any) -> None:
    result, data = await edited(b"caf\xe9\n", "caf", "\u20ac")
    assert "latin-1, which has no '\u20ac'" in result.content
    assert data == b"caf\xe9\n"


async def test_mode_and_symbolic_links_stay(call: Call, context: ToolContext) -> None:
    target = context.cwd / "real" / "run.sh"
    target.parent.mkdir()
    target.write_text("echo a\n")
    target.chmod(0o755)
    link = context.cwd / "run.sh"
    link.symlink_to("real/run.sh")
    await call("read", path="run.sh")
    result = await call("edit", path="run.sh", old_str="a", new_str="b")
    assert result.ok
    assert link.is_symlink()
    assert target.read_text() == "echo b\n"
    assert stat.S_IMODE(target.stat().st_mode) == 0o755
    assert [path.name for path in target.parent.iterdir()] == ["run.sh"]


async def test_a_fuzzy_match_within_a_line_does_not_take_the_line(edited: Any) -> None:
    source = b"x = foo(a) + 1  # keep me\n"
    result, data = await edited(source, "foo(a)   ", "bar(a)")
    assert not result.ok
    assert data == source
    assert "# keep me" in result.content, "the nearest place is shown"


async def test_a_pattern_that_begins_behind_the_indentation_hits_its_own_lines(edited: Any) -> None:
    source = b"one\n        two  \n        three\nfour\n"
    result, data = await edited(source, "two\n        three", "2\n        3")
    assert result.ok
    assert data == b"one\n        2\n        3\nfour\n"


async def test_new_text_is_indented_like_the_place(edited: Any) -> None:
    source = b"class A:\n    def f(self):\n        return 1\n"
    result, data = await edited(source, "def f(self):\n    return 1", "def f(self):\n    x = 1\n    return x")
    assert data == b"class A:\n    def f(self):\n        x = 1\n        return x\n"
    assert "without regard to white space" in result.content


async def test_an_indentation_that_cannot_be_followed_is_refused(edited: Any) -> None:
    source = b"\tif a:\n\t\tb()\n"
    result, data = await edited(source, "    if a:\n        b()", "   c()")
    assert not result.ok
    assert "indentation differs" in result.content
    assert data == source


async def test_an_empty_text_to_find_is_refused(router: ToolRouter) -> None:
    with pytest.raises(Exception, match="old_str"):
        router.parse("edit", '{"path": "a", "old_str": "", "new_str": "x"}')


@pytest.mark.parametrize("mode", ["replace", "append_after", "prepend_before"])
async def test_several_candidates_are_listed_and_nothing_is_changed(edited: Any, mode: str) -> None:
    source = b"a = 1\nb = 2\na = 1  # again\n"
    result, data = await edited(source, "a = 1", "a = 2", mode=mode)
    assert not result.ok
    assert "occurs 2 times" in result.content
    assert result.content.endswith("  line 1: a = 1\n  line 3: a = 1  # again")
    assert data == source


async def test_several_fuzzy_candidates_are_refused_even_for_all(edited: Any) -> None:
    source = b"  a\n  b\nx\n    a\n    b\n"
    result, data = await edited(source, "a\nb", "c", replace_all=True)
    assert not result.ok
    assert "line 1: a" in result.content
    assert "line 4: a" in result.content
    assert data == source


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("replace", b"X-X\n"), ("append_after", b"aX-aX\n"), ("prepend_before", b"Xa-Xa\n")],
)
async def test_all_occurrences_may_be_changed(edited: Any, mode: str, expected: bytes) -> None:
    result, data = await edited(b"a-a\n", "a", "X", replace_all=True, mode=mode)
    assert data == expected
    assert "in 2 places" in result.content


@pytest.mark.parametrize(
    ("mode", "expected"), [("append_after", b"a\nb\nX\nc\n"), ("prepend_before", b"a\nX\nb\nc\n")]
)
async def test_text_may_be_added_beside_a_place(edited: Any, mode: str, expected: bytes) -> None:
    _, data = await edited(b"a\nb\nc\n", "b\n", "X\n", mode=mode)
    assert data == expected


async def test_text_with_the_line_numbers_of_read_is_recognised(edited: Any) -> None:
    result, _ = await edited(b"alpha\nbeta\n", "     1\talpha\n     2\tbeta", "x")
    assert "leave them out" in result.content


async def test_a_text_that_is_not_there_is_told_with_the_nearest_place(edited: Any) -> None:
    result, _ = await edited(b"one\ndef train(model):\n    pass\n", "def train(modle):\n    pass", "x")
    assert "line 2 to 3, reads:\ndef train(model):\n    pass" in result.content


async def test_an_edit_that_changes_nothing_is_refused(edited: Any) -> None:
    assert "the same" in (await edited(b"a\n", "a", "a"))[0].content


async def test_a_file_that_was_not_read_is_not_edited(call: Call, context: ToolContext) -> None:
    (context.cwd / "a.txt").write_text("a\n")
    result = await call("edit", path="a.txt", old_str="a", new_str="b")
    assert "read it first" in str(result.content)
    assert (context.cwd / "a.txt").read_text() == "a\n"


async def test_a_file_that_changed_since_it_was_read_is_not_edited(call: Call, context: ToolContext) -> None:
    path = context.cwd / "a.txt"
    path.write_text("a\n")
    await call("read", path="a.txt")
    await call("bash", command="echo c >> a.txt")
    result = await call("edit", path="a.txt", old_str="a", new_str="b")
    assert "changed on disk" in str(result.content)
    assert path.read_text() == "a\nc\n"
    await call("read", path=str(path))
    assert (await call("edit", path="./a.txt", old_str="a", new_str="b")).ok
    assert (await call("edit", path="a.txt", old_str="b", new_str="d")).ok, "its own changes are known"


async def test_a_failed_read_does_not_count_as_reading(call: Call, context: ToolContext) -> None:
    path = context.cwd / "a.txt"
    path.write_bytes(b"a\x00b\n")
    await call("read", path="a.txt")
    path.write_text("a\n")
    assert not (await call("edit", path="a.txt", old_str="a", new_str="b")).ok


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda path: path.mkdir(), "is a directory"),
        (lambda path: None, "Use write to create"),
        (lambda path: path.write_bytes(b"a\x00"), "binary"),
        (lambda path: path.write_bytes(b"a" * 11_000_000), "too large"),
    ],
    ids=["directory", "missing", "binary", "large"],
)
async def test_what_cannot_be_edited_is_told(
    call: Call, context: ToolContext, make: Callable[[Path], Any], text: str
) -> None:
    make(context.cwd / "a.txt")
    context.stamps[str(context.cwd / "a.txt")] = "x"
    if text == "binary":
        context.stamps[str(context.cwd / "a.txt")] = hashlib.sha256(b"a\x00").hexdigest()
    result = await call("edit", path="a.txt", old_str="a", new_str="b")
    assert not result.ok
    assert text in str(result.content)


async def test_a_python_source_that_no_longer_parses_is_told(call: Call, context: ToolContext) -> None:
    (context.cwd / "a.py").write_text("x = (1)\n")
    await call("read", path="a.py")
    result = await call("edit", path="a.py", old_str="(1)", new_str="(1")
    assert result.ok
    assert "Warning: syntax error in line 1" in str(result.content)


async def test_after_a_crash_a_finished_edit_is_known_by_its_fingerprint(
    router: ToolRouter, context: ToolContext
) -> None:
    path = context.cwd / "a.txt"
    path.write_text("a\n")
    await router.run(router.parse("read", '{"path": "a.txt"}'), context)
    parsed = router.parse("edit", json.dumps({"path": "a.txt", "old_str": "a", "new_str": "b"}))
    hooks = parsed.tool
    assert hooks.fingerprint is not None
    assert hooks.recover is not None
    assert hooks.preview is not None
    fingerprint = await hooks.fingerprint(parsed.arguments, context)
    assert fingerprint["path"] == str(path)
    assert "+b" in (await hooks.preview(parsed.arguments, context))["diff"]
    assert await hooks.recover(parsed.arguments, context, fingerprint) is None
    assert (await router.run(parsed, context)).ok
    context.stamps.clear()
    recovered = await hooks.recover(parsed.arguments, context, fingerprint)
    assert recovered is not None
    assert recovered.ok
    assert context.stamps[str(path)] == fingerprint["after"]
    assert (await hooks.fingerprint(parsed.arguments, context))["after"] == "", (
        "a second time it cannot be made"
    )


@pytest.mark.parametrize(
    "old",
    [
        "line 50000 - text",
        "line 50000  \u2013 text\nline 50001 \u2013 text",
        "nothing of the kind, far and wide",
    ],
    ids=["typography", "white space", "not there"],
)
async def test_a_large_file_is_edited_without_stopping_the_loop(
    call: Call, context: ToolContext, old: str
) -> None:
    path = context.cwd / "a.txt"
    path.write_text("".join(f"line {number} \u2013 text\n" for number in range(60_000)))
    await call("read", path="a.txt")
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            await asyncio.sleep(0)
            beats += 1

    heart = asyncio.ensure_future(beat())
    result = await call("edit", path="a.txt", old_str=old, new_str="changed")
    heart.cancel()
    assert result.ok == (not old.startswith("nothing"))
    assert result.ok == ("@@ -49998," in str(result.content))
    assert beats > 5
