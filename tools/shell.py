"""bash: run a shell command on this machine."""

from __future__ import annotations

import asyncio
import functools
import os
import shutil
import signal
from typing import TYPE_CHECKING

from pydantic import Field

from ..errors import ToolError
from .base import Arguments, Effect, Tool, ToolContext, ToolResult
from .files.paths import missing, resolve
from .output import open_spill, spill_path
from .process import run_command
from .readonly import is_read_only

if TYPE_CHECKING:
    from pathlib import Path

    from .process import Ended

MAX_TIMEOUT_S = 36_000
ROUTER_SLACK_S = 30.0
"""The command's own time limit comes first, since it keeps the output; the router's is the net below."""
ARGUMENT_LIMIT_BYTES = 120_000
"""Linux takes no single argument above 128 KiB; longer commands go through a file."""


class Bash(Arguments):
    """Run a shell command on this machine; get its output (stdout and stderr as they come) and exit code.

    Every call is a fresh shell: directory and variables do not carry over, so chain with && or give work_dir.
    There is no input and no terminal: use -y and other non-interactive flags. Output beyond 25,000
    characters is cut in the middle and kept whole in a file that is named there. Read, edit and search files
    with read, edit, write, grep and glob rather than cat, sed, echo, grep and find.
    When the timeout is up the command is stopped with all it started. Start long work in the background
    with its output in a file, `nohup python train.py > train.log 2>&1 & echo $!`: it outlives the call. Look
    again with `kill -0 PID` and `tail train.log`.
    """

    command: str = Field(min_length=1, description="The command, run by bash -c.")
    description: str | None = Field(
        default=None, description="What it does, in 5 to 10 words, for the person who watches."
    )
    work_dir: str | None = Field(
        default=None, description="Directory to run in. Default: the working directory."
    )
    timeout: int = Field(
        default=120,
        ge=1,
        le=MAX_TIMEOUT_S,
        description="Seconds until the command and its children are stopped.",
    )


async def run_bash(arguments: Bash, context: ToolContext) -> ToolResult:
    """Run the command; `details` hold `exit_code`, `duration_s` and, of a cut output, `spill`."""
    cwd = resolve(arguments.work_dir or ".", context)
    if not cwd.is_dir():
        raise ToolError(f"bash: work_dir is no directory. {missing(cwd)}")
    if "\0" in arguments.command:
        raise ToolError("bash: the command holds a NUL character.")
    script = spill_path(context.spill_dir, context.call_id, ".sh")
    try:
        ended = await run_command(
            await asyncio.to_thread(_argv, arguments.command, script),
            cwd=cwd,
            env=context.env,
            timeout_s=float(arguments.timeout),
            spill=spill_path(context.spill_dir, context.call_id),
            log=context.log,
        )
    except OSError as error:
        raise ToolError(f"bash: the command could not be started: {error.strerror or error}") from error
    return _result(ended, arguments.timeout)


@functools.cache
def _shell() -> str:
    return shutil.which("bash") or "/bin/sh"


def _argv(command: str, script: Path) -> list[str]:
    shell = _shell()
    encoded = command.encode()
    if len(encoded) <= ARGUMENT_LIMIT_BYTES:
        return [shell, "-c", command]
    with os.fdopen(open_spill(script), "wb") as file:
        file.write(encoded)
    return [shell, str(script)]


def _result(ended: Ended, timeout: int) -> ToolResult:
    text = ended.output.text.rstrip("\n")
    details = {
        "exit_code": ended.exit_code,
        "duration_s": round(ended.duration_s, 3),
        **ended.output.details(),
    }
    if ended.ended_by == "timeout":
        details["timed_out"] = True
        footer = (
            f"[timed out after {timeout} s; the command and everything it started were stopped, the output "
            "above is what there was. Raise timeout for longer work, or run it in the background with its "
            "output in a file and look again later.]"
        )
        return ToolResult(_join(text, footer), ok=False, details=details)
    if ended.pipe_held:
        details["background"] = True
        text = _join(
            text,
            "[processes started in the background are still running; what they print from now on is not kept "
            "unless it goes to a file]",
        )
    if ended.exit_code == 0:
        return ToolResult(text or "(no output)", details=details)
    return ToolResult(
        _join(text, f"[{_how(ended.exit_code)} after {ended.duration_s:.1f} s]"), ok=False, details=details
    )


def _how(exit_code: int | None) -> str:
    if exit_code is None:
        return "could not be ended"
    if exit_code >= 0:
        return f"exit code {exit_code}"
    try:
        return f"killed by {signal.Signals(-exit_code).name}"
    except ValueError:
        return f"killed by signal {-exit_code}"


def _join(text: str, footer: str) -> str:
    if not text:
        return footer
    return f"{text}\n{footer}"


def _effect(arguments: Bash) -> Effect:
    return "read" if is_read_only(arguments.command) else "once"


TOOLS = (
    Tool(
        "bash", Bash, run_bash, effect=_effect, timeout_s=lambda arguments: arguments.timeout + ROUTER_SLACK_S
    ),
)
