"""Assemble the system prompt, and find the standing instructions that belong into it."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from .home import user_config_dir
from .project import repository_root

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import date

Runtime = Literal["local", "sandbox"]

AGENTS_NAME = "AGENTS.md"
AGENTS_LIMIT_BYTES = 32 * 1024
"""Most that is taken of one AGENTS.md; the rest is cut with a note."""

_BLOCK = re.compile(r"^::: when (?P<condition>[^\n]+)\n(?P<body>.*?)^:::\n", re.DOTALL | re.MULTILINE)


def system_prompt(
    *,
    headless: bool,
    runtime: Runtime,
    cwd: Path,
    tool_names: Collection[str],
    agents_md: Sequence[tuple[Path, str]] = (),
    today: date,
    user: str | None = None,
) -> str:
    """The system prompt of a thread; equal arguments give equal bytes.

    What differs between threads stands at the end, so that providers can reuse the beginning. Only tools in
    `tool_names` are mentioned.

    Args:
        headless: nobody will answer.
        runtime: where shell and file tools act.
        cwd: directory of the thread.
        tool_names: tools the model is offered.
        agents_md: standing instructions, path and text, the most general first (see `agents_files`).
        today: date of the thread's beginning; the same for the thread's whole life.
        user: Hugging Face user name, if known.
    """
    facts = {runtime, "headless" if headless else "interactive", *(f"tool:{name}" for name in tool_names)}
    parts = [_selected(_prompt("system"), facts)]
    parts += [_standing_instructions(path, text) for path, text in agents_md]
    lines = [f"- Working directory: {cwd}", f"- Date: {today.isoformat()}"]
    if user:
        lines.append(f"- Hugging Face user: {user}")
    parts.append("## Facts\n\n" + "\n".join(lines))
    return "\n\n".join(parts) + "\n"


def compaction_prompt() -> str:
    """What is asked of the model when the history is to be summarised."""
    return _prompt("compact").strip()


def agents_files(cwd: Path, env: Mapping[str, str]) -> list[tuple[Path, str]]:
    """The person's AGENTS.md, then those from the repository's root down to `cwd`, the most specific last.

    Each is cut at 32 KB with a note; one that cannot be read or is empty is left out.
    """
    cwd = cwd.absolute()
    root = repository_root(cwd)
    folders = [cwd, *cwd.parents]
    inside = folders[: folders.index(root) + 1]
    paths = [user_config_dir(env) / AGENTS_NAME, *(folder / AGENTS_NAME for folder in reversed(inside))]
    found = [(path, _read_capped(path)) for path in dict.fromkeys(paths)]
    return [(path, text) for path, text in found if text]


def _selected(text: str, facts: Collection[str]) -> str:
    """Keep the blocks whose conditions all hold; `a|b` holds when either does."""

    def block(match: re.Match[str]) -> str:
        wanted = match["condition"].split()
        return match["body"] if all(_holds(condition, facts) for condition in wanted) else ""

    return re.sub(r"\n{3,}", "\n\n", _BLOCK.sub(block, text)).strip()


def _holds(condition: str, facts: Collection[str]) -> bool:
    kind, colon, names = condition.rpartition(":")
    return any(f"{kind}{colon}{name}" in facts for name in names.split("|"))


def _standing_instructions(path: Path, text: str) -> str:
    return (
        f"## Standing instructions from {path}\n\n"
        f"Follow these unless the user says otherwise in the conversation.\n\n{text.strip()}"
    )


def _read_capped(path: Path) -> str:
    try:
        if not path.is_file():
            return ""
        with path.open("rb") as stream:
            raw = stream.read(AGENTS_LIMIT_BYTES + 1)
    except OSError:
        return ""
    text = raw[:AGENTS_LIMIT_BYTES].decode("utf-8", "ignore").strip()
    if len(raw) > AGENTS_LIMIT_BYTES:
        text += f"\n\n[cut after {AGENTS_LIMIT_BYTES // 1024} KB; the whole text is in {path}]"
    return text


@functools.cache
def _prompt(name: str) -> str:
    return (Path(__file__).parent / "prompts" / f"{name}.md").read_text(encoding="utf-8")
