from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ml_intern.configs import settings as settings_module
from ml_intern.configs.schema import INEFFECTIVE, Settings
from ml_intern.configs.settings import Loaded, load_settings
from ml_intern.errors import UsageError, UserError

PACKAGED = Path(settings_module.__file__).parent


class Place:
    """A person's home and a project directory with settings in them."""

    def __init__(self, root: Path) -> None:
        self.home, self.cwd = root / "home", root / "project"
        self.cwd.mkdir(parents=True)
        self.personal = self.home / ".config" / "ml-intern" / "cli_agent_config.json"
        self.project = self.cwd / ".ml-intern" / "config.json"
        for file in (self.personal, self.project):
            file.parent.mkdir(parents=True)
        self.environ = {"HOME": str(self.home)}

    def load(self, flags: dict[str, Any] | None = None, **environ: str) -> Loaded:
        return load_settings(environ={**self.environ, **environ}, cwd=self.cwd, flags=flags)

    def refused(self, flags: dict[str, Any] | None = None, **environ: str) -> str:
        with pytest.raises(UserError) as error:
            self.load(flags, **environ)
        assert "\n" not in str(error.value)
        return str(error.value)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_without_any_file_the_defaults_hold(place: Place) -> None:
    loaded = place.load()
    assert loaded.settings.max_iterations == 300
    assert loaded.settings.model_name == ""
    assert loaded.settings.approval_mode is None
    assert loaded.settings.headless_max_cost_usd == 20
    assert (loaded.warnings, loaded.ineffective) == ([], [])


def test_the_packaged_file_lists_every_key_with_its_default() -> None:
    packaged = json.loads((PACKAGED / "cli_agent_config.json").read_text())
    assert set(packaged) == set(Settings.model_fields)
    # The schema's own default for this one differs, as it always has.
    differing = {"auto_file_upload"}
    assert Settings.model_validate(packaged).model_dump(exclude=differing) == Settings().model_dump(
        exclude=differing
    )


def test_later_sources_win_in_the_documented_order(place: Place) -> None:
    def limit(flags: dict[str, Any] | None = None) -> tuple[int, str]:
        loaded = place.load(flags)
        return loaded.settings.max_iterations, loaded.origin["max_iterations"]

    assert limit() == (300, str(PACKAGED / "cli_agent_config.json"))
    place.personal.write_text('{"max_iterations": 200}')
    assert limit() == (200, str(place.personal))
    place.project.write_text('{"max_iterations": 150}')
    assert limit() == (150, str(place.project))
    place.environ["ML_INTERN_MAX_ITERATIONS"] = "100"
    assert limit() == (100, "ML_INTERN_MAX_ITERATIONS")
    assert limit({"max_iterations": 50}) == (50, "--max-iterations")


def test_origin_names_the_file_the_variable_or_the_flag(place: Place) -> None:
    place.personal.write_text('{"retries": 1, "policy": {"deny": ["bash"]}}')
    place.project.write_text('{"reasoning_effort": "low"}')
    origin = place.load({"model_name": "x/y", "stream": None}, ML_INTERN_MAX_COST="2").origin
    assert origin["retries"] == origin["policy"] == str(place.personal)
    assert origin["reasoning_effort"] == str(place.project)
    assert origin["max_cost"] == "ML_INTERN_MAX_COST"
    assert origin["model_name"] == "--model"
    assert origin["stream"] == str(PACKAGED / "cli_agent_config.json")


def test_objects_merge_across_files_and_lists_are_replaced(place: Place) -> None:
    place.personal.write_text(
        '{"messaging": {"enabled": false, "destinations": {"slack.default": {"channel": "C1"}}},'
        ' "context_windows": {"a/b": 1000}}'
    )
    settings = place.load().settings
    assert settings.messaging.destinations == {"slack.default": {"channel": "C1"}}
    assert settings.context_windows == {"a/b": 1000}


def test_variables_are_filled_in_also_from_env_files(place: Place) -> None:
    (place.cwd / ".env").write_text("MY_MODEL=vllm/mine\n")
    place.personal.write_text('{"model_name": "${MY_MODEL:-other/x}", "max_iterations": "${N:-12}"}')
    settings = place.load(N="").settings
    assert (settings.model_name, settings.max_iterations) == ("vllm/mine", 12)


def test_an_unset_variable_names_file_line_key_and_variable(place: Place) -> None:
    place.personal.write_text('{\n  "mcpServers": {\n    "x": {"url": "http://h/${MISSING}"}\n  }\n}')
    said = place.refused()
    assert said.startswith(f"{place.personal}:3: mcpServers.x.url: variable MISSING is not set")


def test_what_a_variable_or_flag_holds_is_not_expanded(place: Place) -> None:
    assert place.load({"model_name": "a/${X}"}).settings.model_name == "a/${X}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '{\n\n "max_iteration": 5}',
            ":3: max_iteration: unknown key 'max_iteration'; did you mean 'max_iterations'?",
        ),
        ('{"policy": {\n"denny": []}}', ":2: policy.denny: unknown key 'denny'; did you mean 'deny'?"),
        ('{"price_overrides": {"a/b": {"input": 1,\n"ouput": 2, "output": 2}}}', "did you mean 'output'?"),
        ('{"policy": {"deny": [{"tool": "bash", "mach": {}}]}}', "did you mean 'match'?"),
        ('{"max_iterations": 0}', "max_iterations: must be 1 or more, or -1 for no limit, not 0"),
        ('{"max_cost": -1}', "greater than or equal to 0, not -1"),
        ('{"tool_runtime": "cloud"}', "'local' or 'sandbox', not \"cloud\""),
        ('{"approval_mode": "never"}', "'auto', 'ask' or 'deny'"),
        ('{"policy": {"deny": [{"tool": "bash", "match": {"command": "("}}]}}', "no regular expression"),
        ('{"hosts": {"HF_ENDPOINT": "evil"}}', "must be an http:// or https:// address"),
    ],
)
def test_a_wrong_key_or_value_is_named_with_its_place(place: Place, text: str, said: str) -> None:
    place.personal.write_text(text)
    message = place.refused()
    assert message.startswith(f"{place.personal}:")
    assert said in message


def test_a_complaint_never_shows_what_a_variable_holds(place: Place) -> None:
    place.personal.write_text('{"max_iterations": "${SOME_KEY}"}')
    message = place.refused(SOME_KEY="s3cret")
    assert "s3cret" not in message
    assert "${SOME_KEY}" in message


def test_a_wrong_flag_is_wrong_usage_and_a_wrong_variable_is_named(place: Place) -> None:
    with pytest.raises(UsageError, match=r"^--max-iterations: must be 1 or more"):
        place.load({"max_iterations": 0})
    assert place.refused(ML_INTERN_MAX_ITERATIONS="many").startswith("ML_INTERN_MAX_ITERATIONS: ")


def test_a_named_file_takes_the_place_of_the_persons_own(place: Place, tmp_path: Path) -> None:
    place.personal.write_text('{"retries": 1, "max_iterations": 7}')
    (place.home / "other.json").write_text('{"retries": 2}')
    flagged = tmp_path / "flagged.json"
    flagged.write_text('{"retries": 4}')
    by_variable = place.load(ML_INTERN_CLI_CONFIG="~/other.json").settings
    assert (by_variable.retries, by_variable.max_iterations) == (2, 300)
    by_flag = load_settings(
        environ={**place.environ, "ML_INTERN_CLI_CONFIG": "~/other.json"}, cwd=place.cwd, config_file=flagged
    )
    assert by_flag.settings.retries == 4


def test_a_named_file_that_is_missing_is_an_error(place: Place) -> None:
    assert "ML_INTERN_CLI_CONFIG" in place.refused(ML_INTERN_CLI_CONFIG="/nowhere/x.json")
    with pytest.raises(UserError, match=r"--config: no file '/nowhere/x.json'"):
        load_settings(environ=place.environ, cwd=place.cwd, config_file=Path("/nowhere/x.json"))


def test_effort_off_means_none(place: Place) -> None:
    assert place.load(ML_INTERN_REASONING_EFFORT="off").settings.reasoning_effort is None
    place.personal.write_text('{"reasoning_effort": null}')
    assert place.load().settings.reasoning_effort is None


def test_minus_one_is_no_limit(place: Place) -> None:
    assert place.load({"max_iterations": -1}).settings.iteration_limit is None
    assert place.load({"max_iterations": 4}).settings.iteration_limit == 4


def test_yolo_mode_means_approving_automatically_unless_a_mode_is_set(place: Place) -> None:
    place.personal.write_text('{"yolo_mode": true}')
    loaded = place.load()
    assert loaded.settings.approval_mode == "auto"
    assert loaded.origin["approval_mode"] == str(place.personal)
    place.personal.write_text('{"yolo_mode": true, "approval_mode": "deny"}')
    assert place.load().settings.approval_mode == "deny"
    place.personal.write_text("{}")
    assert place.load(ML_INTERN_YOLO_MODE="1").settings.approval_mode == "auto"


def test_keys_without_effect_are_accepted_and_listed(place: Place) -> None:
    place.personal.write_text('{"save_sessions": false, "heartbeat_interval_s": 5, "retries": 1}')
    assert place.load().ineffective == ["save_sessions", "heartbeat_interval_s"]
    assert set(INEFFECTIVE) < set(Settings.model_fields)


def test_the_cap_over_jobs_is_said_to_cap_nothing_while_there_are_no_jobs(place: Place) -> None:
    place.personal.write_text('{"headless_max_cost_usd": 5}')
    assert place.load().ineffective == ["headless_max_cost_usd"]


class TestProject:
    """What a repository's own file may do."""

    def test_it_sets_model_and_effort_and_adds_rules(self, place: Place) -> None:
        place.personal.write_text('{"policy": {"deny": ["bash"], "allow": ["write"]}}')
        place.project.write_text(
            '{"model_name": "a/b", "reasoning_effort": "low",'
            ' "policy": {"deny": ["edit"], "ask": [{"tool": "write", "match": {"path": "x"}}]}}'
        )
        loaded = place.load()
        assert loaded.settings.model_name == "a/b"
        assert loaded.settings.reasoning_effort == "low"
        assert [rule.tool for rule in loaded.settings.policy.deny] == ["bash", "edit"]
        assert [rule.match for rule in loaded.settings.policy.ask] == [{"path": "x"}]
        assert [rule.tool for rule in loaded.settings.policy.allow] == ["write"]
        assert loaded.warnings == []

    @pytest.mark.parametrize(
        ("key", "personal", "project", "result"),
        [
            ("max_cost", None, 5, 5),
            ("max_cost", 3, 5, 3),
            ("max_cost", 9, 5, 5),
            ("max_cost", 3, None, 3),
            ("max_iterations", 10, 5, 5),
            ("max_iterations", 10, 50, 10),
            ("max_iterations", 10, -1, 10),
            ("max_iterations", -1, 50, 50),
            ("approval_mode", None, "auto", None),
            ("approval_mode", None, "ask", "ask"),
            ("approval_mode", "auto", "ask", "ask"),
            ("approval_mode", "deny", "ask", "deny"),
            ("approval_mode", "ask", "deny", "deny"),
            ("approval_mode", "ask", None, "ask"),
        ],
    )
    def test_it_narrows_and_never_widens(
        self, place: Place, key: str, personal: Any, project: Any, result: Any
    ) -> None:
        place.personal.write_text(json.dumps({key: personal}))
        place.project.write_text(json.dumps({key: project}))
        loaded = place.load()
        assert getattr(loaded.settings, key) == result
        widened = project != result
        assert (len(loaded.warnings) == 1 and key in loaded.warnings[0]) == widened

    def test_everything_else_in_it_is_ignored_with_one_line(self, place: Place) -> None:
        (place.project).write_text(
            '{"mcpServers": {"x": {"command": "evil"}}, "hosts": {"HF_ENDPOINT": "http://evil"},'
            ' "yolo_mode": true, "policy": {"allow": ["bash"]}, "whatever": 1}'
        )
        loaded = place.load()
        (warning,) = loaded.warnings
        for name in ("mcpServers", "hosts", "yolo_mode", "policy.allow", "whatever", str(place.project)):
            assert name in warning
        assert loaded.settings == place_defaults(place)
        assert "HF_ENDPOINT" not in loaded.env

    def test_a_wrong_value_in_it_is_named_with_its_place(self, place: Place) -> None:
        place.project.write_text('{\n"policy": {"deny": [{"tol": 1}]}}')
        assert place.refused().startswith(f"{place.project}:2: policy.deny.0.t")

    def test_it_cannot_read_a_key(self, place: Place) -> None:
        place.project.write_text('{"model_name": "vllm/${HF_TOKEN}"}')
        assert "variable HF_TOKEN is not set" in place.refused(HF_TOKEN="secret")

    def test_flags_and_environment_still_win_over_it(self, place: Place) -> None:
        place.project.write_text('{"max_cost": 1, "model_name": "a/b"}')
        settings = place.load({"max_cost": 50}, ML_INTERN_MODEL_NAME="c/d").settings
        assert (settings.max_cost, settings.model_name) == (50, "c/d")

    def test_it_is_found_from_below_within_the_repository_only(self, place: Place) -> None:
        place.project.write_text('{"model_name": "a/b"}')
        below = place.cwd / "src" / "deep"
        below.mkdir(parents=True)
        outside = load_settings(environ=place.environ, cwd=below)
        assert outside.settings.model_name == ""
        (place.cwd / ".git").mkdir()
        inside = load_settings(environ=place.environ, cwd=below)
        assert inside.settings.model_name == "a/b"


def place_defaults(place: Place) -> Settings:
    place.project.unlink()
    return place.load().settings


class TestHosts:
    """Credentials follow a host only where the person redirected it."""

    def test_one_in_the_persons_file_enters_the_environment_and_is_trusted(self, place: Place) -> None:
        place.personal.write_text('{"hosts": {"HF_ENDPOINT": "http://127.0.0.1:1"}}')
        loaded = place.load()
        assert loaded.env["HF_ENDPOINT"] == "http://127.0.0.1:1"
        assert loaded.is_trusted_host("HF_ENDPOINT")

    def test_the_environment_wins_over_the_file_and_is_trusted(self, place: Place) -> None:
        place.personal.write_text('{"hosts": {"HF_ENDPOINT": "http://127.0.0.1:1"}}')
        loaded = place.load(HF_ENDPOINT="http://127.0.0.1:2")
        assert loaded.env["HF_ENDPOINT"] == "http://127.0.0.1:2"
        assert loaded.is_trusted_host("HF_ENDPOINT")

    def test_one_that_nobody_redirected_is_trusted(self, place: Place) -> None:
        assert place.load().is_trusted_host("GITHUB_API_URL")

    def test_a_value_from_another_file_is_not_trusted(self, place: Place) -> None:
        (place.cwd / ".env").write_text("SOME_NAME=http://evil\n")
        loaded = place.load()
        assert loaded.env["SOME_NAME"] == "http://evil"
        assert not loaded.is_trusted_host("SOME_NAME")


def test_a_web_session_hears_no_file_of_person_or_project(place: Place) -> None:
    place.personal.write_text('{"retries": 1}')
    place.project.write_text('{"reasoning_effort": "low"}')
    loaded = load_settings(environ=place.environ, cwd=place.cwd, web=True)
    assert (loaded.settings.retries, loaded.settings.reasoning_effort) == (3, "high")
    assert loaded.settings.tool_runtime == "sandbox"
    chosen = {**place.environ, "ML_INTERN_DEFAULT_MODEL_ID": "a/b"}
    assert load_settings(environ=chosen, cwd=place.cwd, web=True).settings.model_name == "a/b"


def test_reading_settings_loads_nothing_heavy() -> None:
    code = (
        "import sys, pathlib\n"
        "from ml_intern.configs.settings import load_settings\n"
        "from ml_intern.configs.home import ml_intern_home\n"
        "load_settings(environ={'HOME': '/nowhere'}, cwd=pathlib.Path('/'))\n"
        "ml_intern_home({'HOME': '/nowhere'})\n"
        "heavy = {'dotenv', 'platformdirs', 'rich', 'typer', 'litellm', 'sqlalchemy', 'asyncio', 'httpx'}\n"
        "sys.stdout.write(' '.join(sorted(heavy & set(sys.modules))))\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == ""
