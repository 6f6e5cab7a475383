from __future__ import annotations

import base64
import hashlib
import json
import os
import resource
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ml_intern.tools.base import ToolContext, ToolResult
    from ml_intern.tools.registry import ToolRouter

    Call = Callable[..., Awaitable[ToolResult]]

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"a\nb\n", "     1\ta\n     2\tb"),
        (b"a\nb", "     1\ta\n     2\tb"),
        (b"a\r\nb\r\n", "     1\ta\n     2\tb"),
        (b"a\rb\r", "     1\ta\n     2\tb"),
        (b"a\x0cb\xe2\x80\xa8c\x1cd\n", "     1\ta\x0cb\u2028c\x1cd"),
        (b"\xef\xbb\xbfa\n", "     1\ta"),
        ("\ufeffä\nb".encode("utf-16-le"), "     1\tä\n     2\tb"),
        ("\ufeffä\nb".encode("utf-16-be"), "     1\tä\n     2\tb"),
        (b"caf\xe9\n", "     1\tcafé"),
        (b"\n\n", "     1\t\n     2\t"),
        (b"", "(the file is empty)"),
    ],
    ids=[
        "lf",
        "no end",
        "crlf",
        "cr",
        "odd separators",
        "bom",
        "utf-16-le",
        "utf-16-be",
        "latin-1",
        "blank",
        "empty",
    ],
)
async def test_lines_are_numbered_as_editors_do(
    call: Call, context: ToolContext, data: bytes, expected: str
) -> None:
    path = context.cwd / "a.txt"
    path.write_bytes(data)
    result = await call("read", path="a.txt")
    assert result.content == expected
    assert context.stamps == {str(path): hashlib.sha256(data).hexdigest()} == result.details["stamps"]


async def test_a_long_file_is_read_page_by_page(call: Call, context: ToolContext) -> None:
    (context.cwd / "a.txt").write_text("".join(f"{number}\n" for number in range(1, 2_501)))
    first = str((await call("read", path="a.txt")).content)
    assert first.startswith("     1\t1\n")
    assert first.endswith("  2000\t2000\n(lines 1-2000 of 2500; continue with offset=2001)")
    assert str((await call("read", path="a.txt", offset=2_499)).content) == (
        "  2499\t2499\n  2500\t2500\n(lines 2499-2500 of 2500, the end)"
    )
    assert str((await call("read", path="a.txt", offset=7, limit=1)).content) == (
        "     7\t7\n(lines 7-7 of 2500; continue with offset=8)"
    )
    assert not (await call("read", path="a.txt", offset=2_501)).ok


async def test_pages_of_wide_lines_stay_within_the_cap_and_join_without_a_gap(
    call: Call, context: ToolContext
) -> None:
    lines = [f"{number:03}" + "x" * 3_000 for number in range(1, 31)]
    (context.cwd / "a.txt").write_text("\n".join(lines))
    seen, offset = [], 1
    while offset <= len(lines):
        result = await call("read", path="a.txt", offset=offset)
        assert len(result.content) < 25_000
        assert "spill" not in result.details
        numbered = [line for line in str(result.content).split("\n") if "\t" in line]
        seen += [line.split("\t")[1] for line in numbered]
        offset += len(numbered)
    assert seen == lines


async def test_a_huge_line_is_cut_and_costs_no_memory(call: Call, context: ToolContext) -> None:
    with (context.cwd / "a.txt").open("wb") as file:
        for _ in range(100):
            file.write(b"x" * 1_000_000)
        file.write(b"\nend\n")
    memory_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = await call("read", path="a.txt")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory_kb < 20_000
    assert "... [99,996,000 more characters in this line]\n     2\tend" in str(result.content)
    assert str(result.content).endswith(
        "(long lines are cut at 4,000 characters; see more of one with cut -c in bash)"
    )


async def test_a_directory_is_listed(call: Call, context: ToolContext) -> None:
    (context.cwd / "src").mkdir()
    (context.cwd / "a.txt").write_text("abc")
    (context.cwd / "lost").symlink_to("nowhere")
    result = await call("read", path=".")
    assert result.content == (
        f"{context.cwd} is a directory with 3 entries:\n  src/\n  a.txt  (3 bytes)\n  lost  (broken link)"
    )


async def test_a_missing_file_is_told_with_the_nearest_names(call: Call, context: ToolContext) -> None:
    (context.cwd / "train.py").touch()
    result = await call("read", path="trian.py")
    assert not result.ok
    assert f"Near: {context.cwd / 'train.py'}" in str(result.content)
    assert f"There is no {context.cwd / 'sub'}" in str((await call("read", path="sub/deep/x.py")).content)
    assert "There is no" in str((await call("read", path="train.py/x")).content)


async def test_home_is_that_of_the_environment(call: Call, context: ToolContext) -> None:
    (context.cwd.parent / "x.txt").write_text("at home")
    assert "at home" in str((await call("read", path="~/x.txt")).content)


@pytest.mark.parametrize(
    ("name", "data", "text"),
    [
        ("m.safetensors", b"\x10\x00\x00\x00{}", "safe_open"),
        ("x.bin", b"abc\x00def", "is a binary file (7 bytes)"),
        ("x.pdf", b"%PDF-1.7\x00", "pdftotext"),
    ],
)
async def test_binaries_are_named_in_a_clear_word(
    call: Call, context: ToolContext, name: str, data: bytes, text: str
) -> None:
    (context.cwd / name).write_bytes(data)
    result = await call("read", path=name)
    assert not result.ok
    assert text in str(result.content)


async def test_a_pipe_is_not_waited_for(call: Call, context: ToolContext) -> None:
    os.mkfifo(context.cwd / "pipe")
    assert "is a pipe, not a file" in str((await call("read", path="pipe")).content)


async def test_an_image_is_content_for_a_model_that_takes_images(
    router: ToolRouter, context: ToolContext
) -> None:
    (context.cwd / "a.dat").write_bytes(PNG)
    parsed = router.parse("read", '{"path": "a.dat"}')
    blind = await router.run(parsed, context)
    assert "image/png" in str(blind.content)
    assert "takes no images" in str(blind.content)
    seeing = type(context)(
        context.call_id, context.cwd, context.spill_dir, context.env, {}, context.log, images=True
    )
    result = await router.run(parsed, seeing)
    assert isinstance(result.content, list)
    url = result.content[1]["image_url"]["url"]
    assert url.startswith("data:image/png;base64,")
    assert base64.b64decode(url.partition(",")[2]) == PNG


def notebook(cells: list[Any]) -> str:
    return json.dumps({"cells": cells, "nbformat": 4})


async def test_a_notebook_is_shown_cell_by_cell(call: Call, context: ToolContext) -> None:
    outputs: list[dict[str, Any]] = [
        {"output_type": "stream", "name": "stdout", "text": ["loss \u001b[31m0.5\u001b[0m\n"]},
        {"output_type": "display_data", "data": {"image/png": "AAAA", "text/plain": "<Figure>"}},
        {"output_type": "error", "traceback": ["Traceback", "ValueError: x"]},
        {"output_type": "stream", "name": "stdout", "text": "x" * 5_000 + "the end"},
    ]
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "text"]},
        {"cell_type": "code", "execution_count": 3, "source": "train()", "outputs": outputs},
    ]
    (context.cwd / "a.ipynb").write_text(notebook(cells))
    text = str((await call("read", path="a.ipynb")).content)
    for expected in (
        "\t# --- cell 1 [markdown]\n     2\t# Title\n     3\ttext",
        "\t# --- cell 2 [code] executed as 3\n     6\ttrain()",
        "\tloss 0.5\n",
        "\t# output: display_data image/png, text/plain\n",
        "\tValueError: x\n",
        "xthe end",
    ):
        assert expected in text
    assert "AAAA" not in text


async def test_a_notebook_that_is_none_is_shown_as_it_is(call: Call, context: ToolContext) -> None:
    (context.cwd / "a.ipynb").write_text('{"cells": 5')
    assert (await call("read", path="a.ipynb")).content == '     1\t{"cells": 5'


@pytest.mark.parametrize("path", ["a\x00b", "", "  "])
async def test_what_is_no_path_is_told(call: Call, path: str) -> None:
    result = await call("read", path=path)
    assert not result.ok
    assert "is not a path" in str(result.content)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
async def test_a_file_that_may_not_be_read_is_told(call: Call, context: ToolContext) -> None:
    (context.cwd / "a.txt").touch(mode=0o000)
    assert "Permission denied" in str((await call("read", path="a.txt")).content)
