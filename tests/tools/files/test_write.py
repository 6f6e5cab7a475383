from __future__ import annotations

import json
import os
import stat
from typing import TYPE_CHECKING

import pytest

from ml_intern.tools.files.python_check import warnings_for

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ml_intern.tools.base import ToolContext, ToolResult
    from ml_intern.tools.registry import ToolRouter

    Call = Callable[..., Awaitable[ToolResult]]


async def test_a_new_file_is_made_with_its_directories_and_the_usual_mode(
    call: Call, context: ToolContext
) -> None:
    umask = os.umask(0o027)
    try:
        result = await call("write", path="a/b/c.txt", content="one\ntwo é\n")
    finally:
        os.umask(umask)
    path = context.cwd / "a" / "b" / "c.txt"
    assert path.read_bytes() == "one\ntwo é\n".encode()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert str(result.content).startswith(f"Created {path} (2 lines, 11 bytes).\n--- a/b/c.txt")
    assert [entry.name for entry in path.parent.iterdir()] == ["c.txt"]


async def test_a_file_that_was_not_read_is_not_overwritten(call: Call, context: ToolContext) -> None:
    path = context.cwd / "a.txt"
    path.write_text("mine")
    result = await call("write", path="a.txt", content="theirs")
    assert not result.ok
    assert "read it first" in str(result.content)
    assert path.read_text() == "mine"
    await call("read", path="a.txt")
    assert (await call("write", path="a.txt", content="theirs")).ok
    assert (await call("write", path="a.txt", content="again")).ok
    path.write_text("mine again")
    assert "changed on disk" in str((await call("write", path="a.txt", content="x")).content)


async def test_mode_and_symbolic_links_stay_and_the_diff_is_told(call: Call, context: ToolContext) -> None:
    target = context.cwd / "real.sh"
    target.write_text("echo a\n")
    target.chmod(0o755)
    (context.cwd / "link.sh").symlink_to("real.sh")
    await call("read", path="link.sh")
    result = await call("write", path="link.sh", content="echo b\n")
    assert (context.cwd / "link.sh").is_symlink()
    assert stat.S_IMODE(target.stat().st_mode) == 0o755
    assert result.details["diff"].endswith("@@ -1 +1 @@\n-echo a\n+echo b")


async def test_a_directory_is_no_file(call: Call, context: ToolContext) -> None:
    assert "is a directory" in str((await call("write", path=".", content="x")).content)
    (context.cwd / "file").touch()
    result = await call("write", path="file/x", content="x")
    assert not result.ok
    assert "cannot be written" in str(result.content)


async def test_a_binary_file_that_was_stamped_may_be_replaced(call: Call, context: ToolContext) -> None:
    (context.cwd / "a.bin").write_bytes(b"\x00")
    assert not (await call("write", path="a.bin", content="x")).ok


async def test_a_device_is_refused(call: Call) -> None:
    assert not (await call("write", path="/dev/null", content="x")).ok


async def test_a_training_script_without_push_is_warned_about(call: Call) -> None:
    result = await call(
        "write", path="train.py", content="from trl import SFTConfig\nSFTConfig(output_dir='x')\n"
    )
    assert result.ok
    assert len(result.details["warnings"]) == 2
    assert (await call("write", path="fine.py", content="x = '\\d'\n")).details.get("warnings") is None
    assert "Warning: " in str((await call("write", path="nul.py", content="x\x00")).content)
    assert "Warning: line 2: SFTConfig without push_to_hub" in str(result.content)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = 1\n", []),
        ("x = (\n", ["syntax error in line 1: '(' was never closed"]),
        (
            "TrainingArguments('x')",
            ["line 1: TrainingArguments without push_to_hub", "line 1: TrainingArguments without hub"],
        ),
        ("trl.DPOConfig(push_to_hub=True)", ["line 1: DPOConfig without hub_model_id"]),
        ("GRPOConfig(push_to_hub=True, hub_model_id='a/b')", []),
        ("SFTConfig(push_to_hub=False)", []),
        ("SFTConfig(**settings)", []),
        ("SFTConfig(x=1)\ntrainer.push_to_hub()", []),
        ("# SFTConfig(x=1)\n'SFTConfig()'", []),
        ("Seq2SeqTrainingArguments(push_to_hub=True, hub_model_id='x')", []),
        ("x = " + "(" * 500, ["syntax error in line 1"]),
    ],
)
def test_python_sources_are_looked_over(source: str, expected: list[str]) -> None:
    found = warnings_for(source)
    assert len(found) == len(expected)
    assert all(line.startswith(start) for line, start in zip(found, expected, strict=True))


async def test_after_a_crash_a_finished_write_is_known_by_its_fingerprint(
    router: ToolRouter, context: ToolContext
) -> None:
    parsed = router.parse("write", json.dumps({"path": "a.txt", "content": "x"}))
    tool = parsed.tool
    assert tool.fingerprint is not None
    assert tool.recover is not None
    assert tool.preview is not None
    assert tool.effect == "idempotent"
    fingerprint = await tool.fingerprint(parsed.arguments, context)
    assert fingerprint["before"] == ""
    assert await tool.recover(parsed.arguments, context, fingerprint) is None
    assert (await tool.preview(parsed.arguments, context))["diff"].endswith(
        "+x\n\\ No newline at end of file"
    )
    assert not (context.cwd / "a.txt").exists()
    await router.run(parsed, context)
    recovered = await tool.recover(parsed.arguments, context, fingerprint)
    assert recovered is not None
    assert recovered.details["recovered"]
    (context.cwd / "a.txt").write_text("y")
    assert await tool.recover(parsed.arguments, context, fingerprint) is None
    blocked = router.parse("write", json.dumps({"path": ".", "content": "x"}))
    assert await tool.fingerprint(blocked.arguments, context) == {"path": ".", "before": "", "after": ""}
    assert await tool.recover(blocked.arguments, context, {"path": ".", "before": "", "after": ""}) is None
