from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from ml_intern.configs.prompting import AGENTS_LIMIT_BYTES, agents_files, compaction_prompt, system_prompt

LOCAL_TOOLS = ("bash", "read", "write", "edit", "grep", "glob", "plan_tool")
LATER_TOOLS = (
    "research",
    "hf_papers",
    "explore_hf_docs",
    "fetch_hf_docs",
    "find_hf_api",
    "github_find_examples",
    "github_list_repos",
    "github_read_file",
    "web_search",
    "hf_inspect_dataset",
    "hf_jobs",
    "sandbox_create",
    "hf_repo_files",
    "hf_repo_git",
    "notify",
)


def prompt(**changes: Any) -> str:
    arguments: dict[str, Any] = {
        "headless": True,
        "runtime": "local",
        "cwd": Path("/work"),
        "tool_names": LOCAL_TOOLS,
        "today": date(2026, 1, 2),
    }
    return system_prompt(**{**arguments, **changes})


def test_equal_arguments_give_equal_bytes_whatever_the_order_of_tools() -> None:
    assert prompt() == prompt(tool_names=frozenset(reversed(LOCAL_TOOLS)))


@pytest.mark.parametrize("headless", [True, False])
@pytest.mark.parametrize("runtime", ["local", "sandbox"])
@pytest.mark.parametrize("tools", [(), LOCAL_TOOLS, (*LOCAL_TOOLS, *LATER_TOOLS)])
def test_every_variant_is_whole_and_short(headless: bool, runtime: str, tools: tuple[str, ...]) -> None:
    text = prompt(headless=headless, runtime=runtime, tool_names=tools)
    assert ":::" not in text
    assert "\n\n\n" not in text
    assert len(text.split()) <= 1600
    assert ("Nobody will answer" in text) == headless
    assert ("A person reads along" in text) == (not headless)
    assert ("on the user's own machine" in text) == (runtime == "local")
    assert ("in a remote sandbox" in text) == (runtime == "sandbox")


@pytest.mark.parametrize("name", [*LOCAL_TOOLS, *LATER_TOOLS])
def test_a_tool_that_is_not_offered_is_not_mentioned(name: str) -> None:
    others = [tool for tool in (*LOCAL_TOOLS, *LATER_TOOLS) if tool != name]
    named = re.findall(r"`([a-z_]+)`", prompt(tool_names=others))
    assert name not in named
    assert named.count("plan_tool") == (name != "plan_tool")


def test_volatile_facts_come_last() -> None:
    one = prompt(cwd=Path("/a"), today=date(2026, 1, 2), user="ann")
    other = prompt(cwd=Path("/b"), today=date(2027, 3, 4), user=None)
    shared = next(index for index, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    assert one[:shared].endswith("- Working directory: /")
    assert one.endswith("- Working directory: /a\n- Date: 2026-01-02\n- Hugging Face user: ann\n")


def test_standing_instructions_stand_before_the_facts_with_their_path() -> None:
    text = prompt(agents_md=[(Path("/x/AGENTS.md"), "Use tabs. ::: when headless\n")])
    assert "## Standing instructions from /x/AGENTS.md" in text
    assert text.index("Use tabs. ::: when headless") < text.index("## Facts")


def test_agents_files_are_read_from_the_person_then_from_the_root_down(tmp_path: Path) -> None:
    home, root = tmp_path / "home", tmp_path / "repo"
    below = root / "a" / "b"
    below.mkdir(parents=True)
    (root / ".git").mkdir()
    (home / ".config" / "ml-intern").mkdir(parents=True)
    (tmp_path / "AGENTS.md").write_text("outside the repository")
    (home / ".config" / "ml-intern" / "AGENTS.md").write_text("mine")
    (root / "AGENTS.md").write_text("root")
    (root / "a" / "AGENTS.md").write_text("  \n")
    (below / "AGENTS.md").write_text("below")
    assert [text for _, text in agents_files(below, {"HOME": str(home)})] == ["mine", "root", "below"]


def test_a_huge_agents_file_is_cut_with_a_note_and_a_broken_one_left_out(tmp_path: Path) -> None:
    (tmp_path / "AGENTS.md").write_bytes("é".encode() * AGENTS_LIMIT_BYTES)
    ((path, text),) = agents_files(tmp_path, {"HOME": str(tmp_path / "home")})
    assert len(text.encode()) < AGENTS_LIMIT_BYTES + 200
    assert text.endswith(f"[cut after 32 KB; the whole text is in {path}]")
    path.unlink()
    path.mkdir()
    assert agents_files(tmp_path, {"HOME": str(tmp_path / "home")}) == []


def test_the_compaction_prompt_asks_for_all_that_work_depends_on() -> None:
    headings = re.findall(r"^## (.+)$", compaction_prompt(), re.MULTILINE)
    assert headings == ["Goal", "Decisions", "Artefacts", "Tried and failed", "State", "Next"]
