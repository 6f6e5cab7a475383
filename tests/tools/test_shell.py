from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ml_intern.tools.output import SPILL_LIMIT_BYTES
from ml_intern.tools.process import LiveOutput, TerminalText

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from ml_intern.tools.base import ToolContext, ToolResult
    from ml_intern.tools.registry import ToolRouter

    Call = Callable[..., Awaitable[ToolResult]]

FLOOD_BYTES = 200_000_000


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


async def until(holds: Callable[[], bool]) -> bool:
    """Wait for something outside of this process."""
    deadline = time.monotonic() + 10
    while not holds() and time.monotonic() < deadline:  # noqa: ASYNC110 - nobody there could set an event
        await asyncio.sleep(0.01)
    return holds()


async def until_gone(pid: int) -> bool:
    """Whether a killed process is gone soon; orphans are reaped by init in its own time."""
    return await until(lambda: not alive(pid))


async def until_written(path: Path) -> str:
    assert await until(lambda: path.exists() and path.read_text().endswith("\n"))
    return path.read_text()


@pytest.fixture
def strays() -> Iterator[list[int]]:
    """Processes that outlive a call on purpose; ended with the test."""
    pids: list[int] = []
    yield pids
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


async def test_output_and_errors_come_in_the_order_they_were_printed(call: Call) -> None:
    result = await call("bash", command="echo one; echo two >&2; echo three")
    assert result.content == "one\ntwo\nthree"
    assert result.ok
    assert result.details["exit_code"] == 0


async def test_a_failure_shows_its_exit_code_and_how_long_it_took(call: Call) -> None:
    result = await call("bash", command="echo before; exit 3")
    assert not result.ok
    assert str(result.content).startswith("before\n[exit code 3 after 0.")
    assert result.details["exit_code"] == 3


async def test_a_command_killed_by_a_signal_says_which(call: Call) -> None:
    result = await call("bash", command="kill -SEGV $$")
    assert "killed by SIGSEGV" in str(result.content)


async def test_no_output_is_said_in_words(call: Call) -> None:
    assert (await call("bash", command="true")).content == "(no output)"


async def test_stdin_is_closed_and_there_is_no_terminal(call: Call) -> None:
    result = await call("bash", command="cat; tty; read x < /dev/tty || echo none")
    assert "not a tty" in str(result.content)
    assert str(result.content).endswith("none")


async def test_each_call_starts_in_the_working_directory_with_the_given_environment(
    call: Call, context: ToolContext
) -> None:
    (context.cwd / "sub").mkdir()
    assert (await call("bash", command="cd sub; export X=1; pwd")).content == str(context.cwd / "sub")
    assert (
        await call("bash", command='pwd; echo "$X$HOME"')
    ).content == f"{context.cwd}\n{context.env['HOME']}"
    assert (await call("bash", command="pwd", work_dir="sub")).content == str(context.cwd / "sub")


async def test_a_missing_work_dir_is_told_with_the_nearest_name(call: Call, context: ToolContext) -> None:
    (context.cwd / "src").mkdir()
    result = await call("bash", command="true", work_dir="srcs")
    assert not result.ok
    assert f"Near: {context.cwd / 'src'}" in str(result.content)


async def test_output_is_shown_while_the_command_runs(
    router: ToolRouter, context: ToolContext, logs: list[str]
) -> None:
    parsed = router.parse(
        "bash", json.dumps({"command": "echo first; until [ -e go ]; do sleep 0.01; done; echo last"})
    )
    task = asyncio.ensure_future(router.run(parsed, context))
    assert await until(lambda: bool(logs))
    assert logs == ["first"]
    (context.cwd / "go").touch()
    assert (await task).content == "first\nlast"
    assert logs == ["first", "last"]


async def test_colours_and_titles_of_terminals_are_taken_out(call: Call) -> None:
    result = await call("bash", command=r"printf '\033[1;31mred\033[0m \033]0;title\007\033(Bplain'")
    assert result.content == "red plain"


async def test_bytes_that_are_no_text_do_not_lose_the_output(call: Call) -> None:
    result = await call("bash", command=r"printf 'a\xff\xfe\x00b\xc3'")
    assert result.content == "a\ufffd\ufffd\ufffdb\ufffd"


@pytest.mark.parametrize(
    "command",
    [f"head -c {FLOOD_BYTES} /dev/zero | tr '\\0' 'x'", f"yes | head -c {FLOOD_BYTES}"],
    ids=["one line", "many lines"],
)
async def test_a_flood_uses_little_memory_and_lets_the_loop_go_on(
    call: Call, logs: list[str], command: str
) -> None:
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            beats += 1
            await asyncio.sleep(0.005)

    memory_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    heart = asyncio.ensure_future(beat())
    result = await call("bash", command=command)
    heart.cancel()
    grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory_kb
    assert result.details["total_chars"] == FLOOD_BYTES
    assert Path(result.details["spill"]).stat().st_size == SPILL_LIMIT_BYTES
    assert len(result.content) < 26_000
    assert grown_kb < 40_000
    assert beats > 10
    assert all(len(batch) < 2_100 for batch in logs)
    assert len(logs) <= 2 + result.details["duration_s"] * 10


async def test_a_child_in_the_background_does_not_hold_the_call_and_lives_on(
    call: Call, context: ToolContext, strays: list[int]
) -> None:
    result = await call(
        "bash", command="(until [ -e go ]; do sleep 0.02; done; echo late; echo done > said) & echo $!"
    )
    first, _, note = str(result.content).partition("\n")
    strays.append(int(first))
    assert "still running" in note
    assert result.ok
    assert result.details["duration_s"] < 5
    assert alive(int(first))
    (context.cwd / "go").touch()
    # Printing "late" must not end it with a broken pipe.
    assert await until_written(context.cwd / "said") == "done\n"


async def test_a_daemon_in_a_session_of_its_own_does_not_hold_the_call(call: Call, strays: list[int]) -> None:
    result = await call("bash", command="setsid sh -c 'echo $$; exec sleep 60' & sleep 0.2")
    strays.append(int(str(result.content).split("\n")[0]))
    assert result.ok
    assert alive(strays[0])


async def test_a_background_child_with_its_output_in_a_file_is_not_mentioned(
    call: Call, strays: list[int]
) -> None:
    result = await call("bash", command="nohup sleep 60 > log 2>&1 & echo $!")
    strays.append(int(str(result.content)))
    assert alive(strays[0])


async def test_a_timeout_keeps_the_output_and_ends_the_whole_group(call: Call) -> None:
    result = await call("bash", command="sleep 60 & echo $!; sleep 60", timeout=1)
    pid, _, note = str(result.content).partition("\n")
    assert note.startswith("[timed out after 1 s")
    assert not result.ok
    assert result.details["timed_out"]
    assert await until_gone(int(pid))


async def test_a_command_that_ignores_sigterm_is_killed(call: Call) -> None:
    result = await call("bash", command="trap '' TERM; echo $$; while :; do sleep 60; done", timeout=1)
    assert str(result.content).count("\n") == 1
    assert result.details["exit_code"] == -signal.SIGKILL
    assert result.details["duration_s"] < 10


async def test_a_command_may_tidy_up_on_sigterm_and_its_last_words_are_kept(call: Call) -> None:
    result = await call(
        "bash", command="trap 'echo saved; exit 0' TERM; while :; do sleep 0.02; done", timeout=1
    )
    assert "saved\n[timed out" in str(result.content)


async def test_cancelling_the_call_ends_the_whole_group_first(
    router: ToolRouter, context: ToolContext
) -> None:
    command = "trap '' TERM; sleep 60 & echo $! > pids; echo $$ >> pids; echo end >> pids; wait"
    task = asyncio.ensure_future(router.run(router.parse("bash", json.dumps({"command": command})), context))
    assert await until(
        lambda: (context.cwd / "pids").exists() and "end" in (context.cwd / "pids").read_text()
    )
    child, shell, _ = (context.cwd / "pids").read_text().split()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not Path(f"/proc/{shell}").exists(), "reaped, not only killed"
    assert await until_gone(int(child))


async def test_a_call_cancelled_before_it_has_begun_leaves_nothing(
    router: ToolRouter, context: ToolContext
) -> None:
    task = asyncio.ensure_future(router.run(router.parse("bash", '{"command": "sleep 60"}'), context))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_calls_run_beside_each_other(router: ToolRouter, context: ToolContext) -> None:
    # Each waits for the next one's file: in sequence they would never end.
    calls = [f"touch {number}; until [ -e {(number + 1) % 12} ]; do sleep 0.01; done" for number in range(12)]
    parsed = [router.parse("bash", json.dumps({"command": command, "timeout": 30})) for command in calls]
    results = await asyncio.gather(*(router.run(one, context) for one in parsed))
    assert all(result.ok for result in results)


async def test_a_command_longer_than_one_argument_may_be_runs_from_a_file(call: Call) -> None:
    text = "x" * 300_000
    result = await call("bash", command=f"wc -c <<'END'\n{text}\nEND\n")
    assert result.content == "300001"


async def test_no_descriptors_are_left(call: Call) -> None:
    await call("bash", command="true")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(10):
        await call("bash", command="echo x")
        await call("bash", command="exit 1", work_dir="nowhere")
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1


@pytest.mark.parametrize("piece_bytes", [1, 2, 3, 7, 1_000])
def test_sequences_cut_between_pieces_are_still_taken_out(piece_bytes: int) -> None:
    data = "é\x1b[38;5;196mred\x1b[0m \x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\ \x1b(B\x1b=end\x1b[".encode()
    stream = TerminalText()
    text = "".join(stream.feed(data[at : at + piece_bytes]) for at in range(0, len(data), piece_bytes))
    assert text + stream.feed(b"", final=True) == "éred link end["


def test_live_output_comes_in_whole_lines_and_ever_more_rarely() -> None:
    shown: list[str] = []
    live = LiveOutput(shown.append)
    start = time.monotonic() + 1.0
    live.feed("one\ntwo\nhal")
    live.flush(start)
    assert shown == ["one\ntwo"]
    live.feed("f\n")
    live.flush(start + 0.05)
    assert shown == ["one\ntwo"]
    assert live.wait_s(start + 0.05) == pytest.approx(0.05)
    live.flush(start + 0.11)
    assert shown[1:] == ["half"]
    for second in range(1, 3_600):
        for tenth in range(10):
            live.feed("x" * 10_000 + "\n")
            live.flush(start + second + tenth / 10)
    assert len(shown) < 1_000
    assert sum(map(len, shown)) < 2_000_000
    assert "characters not shown" in shown[-1]
