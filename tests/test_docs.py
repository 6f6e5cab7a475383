"""The pages a person reads are held against the code they speak of."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_intern.cli import command_names
from ml_intern.configs.schema import INEFFECTIVE, Settings
from ml_intern.events import CLOSING, EVENT_NAMES
from ml_intern.gateways.operations import OPERATIONS
from ml_intern.tests.bench.script import Step, ToolCall
from ml_intern.tools.registry import default_tools

if TYPE_CHECKING:
    from ml_intern.tests.conftest import ServerFactory

ROOT = Path(__file__).parent.parent
PACKAGED: dict[str, Any] = json.loads(
    (ROOT / "configs" / "cli_agent_config.json").read_text(encoding="utf-8")
)


def tables(page: str, first_column: str) -> list[list[str]]:
    """Rows of the page's tables whose first column has this title, cells without their outer back quotes."""
    rows: list[list[str]] = []
    inside = False
    for line in (ROOT / page).read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|"):
            inside = False
        elif cells[0] == first_column:
            inside = True
        elif inside and not set(cells[0]) <= set("-"):
            rows.append(cells)
    return rows


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_the_readme_is_shorter_than_200_lines() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 200


def test_the_readme_lists_the_tools_with_their_effects() -> None:
    listed = {names(row[0])[0]: row[1] for row in tables("README.md", "tool")}
    built = {
        tool.name: tool.effect if isinstance(tool.effect, str) else "by call" for tool in default_tools()
    }
    assert listed == built


def test_the_readme_says_why_for_every_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {re.split(r"[^\w-]", requirement)[0] for requirement in project["dependencies"]}
    reasons = {names(row[0])[0]: row[1] for row in tables("README.md", "package")}
    assert set(reasons) == declared
    assert all(reasons.values())


def test_the_readme_names_only_commands_there_are() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    code = [*re.findall(r"```(?:sh|console)\n(.*?)```", text, re.DOTALL), *re.findall(r"`([^`\n]+)`", text)]
    words = {word for piece in code for word in re.findall(r"^(?:\$ )?ml-intern ([a-z]+)", piece, re.M)}
    assert words >= {"demo", "config", "tools"}
    assert words <= set(command_names())


def test_every_setting_is_on_its_page_with_its_default() -> None:
    rows = tables("docs/settings.md", "setting")
    listed = {names(row[0])[0]: json.loads(names(row[1])[0]) for row in rows}
    assert listed == PACKAGED
    assert set(listed) == set(Settings.model_fields)
    without_effect = {names(row[0])[0]: row[3] for row in rows if len(row) == 4}
    assert without_effect == INEFFECTIVE


def test_settings_in_the_readme_have_their_defaults() -> None:
    rows = tables("README.md", "setting")
    assert rows
    for row in rows:
        assert json.loads(names(row[1])[0]) == PACKAGED[names(row[0])[0]]


def test_every_event_is_on_its_page_and_closing_ones_say_so() -> None:
    rows = tables("docs/events.md", "event")
    assert sorted(names(row[0])[0] for row in rows) == sorted(EVENT_NAMES)
    assert {names(row[0])[0] for row in rows if row[2].startswith("Closing")} == CLOSING


def test_every_operation_is_on_its_page() -> None:
    assert [names(row[0])[0] for row in tables("docs/events.md", "operation")] == list(OPERATIONS)


def test_a_run_emits_no_key_that_the_page_lacks(start_model_server: ServerFactory, tmp_path: Path) -> None:
    documented = {names(row[0])[0]: set(names(row[1])) for row in tables("docs/events.md", "event")}
    plan = {"todos": [{"id": "a", "content": "Look", "status": "completed"}]}
    calls = [
        ToolCall("plan_tool", plan),
        ToolCall("write", {"path": "a.txt", "content": "a\n"}),
        ToolCall("bash", {"command": "echo hi; touch b"}),
        ToolCall("read", "{not json"),
    ]
    server = start_model_server([Step(tool_calls=calls), Step(status=500), "Done."])
    program = str(Path(sys.executable).with_name("ml-intern"))
    command = [program, "-m", "vllm/scripted", "-o", "stream-json", "go"]
    environment = {**os.environ, "VLLM_BASE_URL": server.base_url}
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [events[0]["event"], events[-1]["event"]] == ["ready", "turn_complete"]
    assert {"tool_call", "tool_output", "tool_log", "plan_update", "llm_call"} <= {e["event"] for e in events}
    undocumented = [
        f"{event['event']}.{key}"
        for event in events
        for key in event["data"]
        if key not in documented[event["event"]]
    ]
    assert not undocumented
