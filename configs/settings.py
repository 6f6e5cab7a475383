"""Load the settings from packaged defaults, the person's and the project's file, environment and flags."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, get_args

from pydantic import BaseModel, ValidationError

from ..errors import UsageError, UserError
from .env_file import effective_environment
from .home import user_config_dir, user_home
from .project import heard, narrower, project_file, without_secrets
from .schema import INEFFECTIVE, Settings
from .sources import KeyPath, Merged, Source, read_json_source

if TYPE_CHECKING:
    from collections.abc import Mapping

CONFIG_NAME = "cli_agent_config.json"
WEB_CONFIG_NAME = "frontend_agent_config.json"
COMMAND_LINE = "command line"

_HERE = Path(__file__).parent
_FLAG_NAMES = {
    "model_name": "--model",
    "max_iterations": "--max-iterations",
    "stream": "--no-stream",
    "approval_mode": "--approve",
    "max_cost": "--max-cost",
    "tool_runtime": "--sandbox-tools",
}
_BY_ENVIRONMENT = frozenset(
    name
    for name, field in Settings.model_fields.items()
    if not any(part in str(field.annotation) for part in ("dict", "list", "Policy", "Messaging"))
)


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings with everything a person may ask about them."""

    settings: Settings
    origin: dict[str, str]
    """Key -> where its value was set: a file, a variable, a flag."""
    warnings: list[str]
    """Lines for stderr."""
    ineffective: list[str]
    """Keys a person set that change nothing in this release; the reasons are in `schema.INEFFECTIVE`."""
    env: dict[str, str]
    """Process environment, completed by `.env` files and by the setting `hosts`."""
    trusted_env: dict[str, str]
    """The part of `env` the person wrote: a host named here may receive credentials."""
    files: list[Path]
    """Settings files that were read, packaged first."""

    def is_trusted_host(self, variable: str) -> bool:
        """Whether credentials may go to the host that `variable` names; true when it is not redirected."""
        return variable not in self.env or self.trusted_env.get(variable) == self.env[variable]


def load_settings(
    *,
    environ: Mapping[str, str],
    cwd: Path,
    config_file: Path | None = None,
    flags: Mapping[str, Any] | None = None,
    web: bool = False,
) -> Loaded:
    """Read every source of settings and lay them over each other; the later wins.

    Args:
        environ: environment of the process.
        cwd: directory the thread works in; its `.env` and project file are read.
        config_file: `--config`; takes the place of the person's own file.
        flags: settings given on the command line, by key; None means not given.
        web: a web session: its packaged defaults, no file of a person or project.

    Raises:
        UserError: a file is missing, broken, or holds an unknown key, an unset variable or a wrong value.
        UsageError: the same of a flag.
    """
    cwd = cwd.absolute()
    environment = effective_environment(environ, cwd)
    env, warnings = environment.values, list(environment.warnings)
    merged = Merged()
    files = [_HERE / CONFIG_NAME, *([_HERE / WEB_CONFIG_NAME] if web else _personal_file(env, config_file))]
    for path in files:
        merged.lay(read_json_source(path))
    base = merged.substituted(env.get)
    _yolo_is_auto(base, merged)
    settings = _validated(base, merged)
    values: dict[str, Any] = dict(settings)
    project = None if web else project_file(cwd)
    if project is not None and project not in files:
        files.append(project)
        changes, line = _project_changes(read_json_source(project), merged, settings, env)
        values |= changes
        warnings += line
    values |= _top_layers(merged, env, flags or {})
    settings = _validated(values, merged)
    for name, url in settings.hosts.items():
        if name not in env:
            env[name] = environment.trusted[name] = url
    origin = {str(key): _label(merged, str(key)) for key in Settings.model_fields}
    packaged = {str(_HERE / CONFIG_NAME), str(_HERE / WEB_CONFIG_NAME)}
    return Loaded(
        settings=settings,
        origin=origin,
        warnings=warnings,
        ineffective=[key for key in INEFFECTIVE if origin[key] not in packaged],
        env=env,
        trusted_env=environment.trusted,
        files=files,
    )


def _personal_file(env: Mapping[str, str], config_file: Path | None) -> list[Path]:
    if config_file is not None:
        if not config_file.is_file():
            raise UserError(f"--config: no file {str(config_file)!r}.")
        return [config_file]
    if chosen := env.get("ML_INTERN_CLI_CONFIG"):
        home = user_home(env)
        path = home / chosen[2:] if chosen.startswith("~/") else Path(chosen).expanduser()
        if not path.is_file():
            raise UserError(f"ML_INTERN_CLI_CONFIG: no file {str(path)!r}; correct or unset the variable.")
        return [path]
    path = user_config_dir(env) / CONFIG_NAME
    return [path] if path.is_file() else []


def _yolo_is_auto(values: dict[str, Any], merged: Merged) -> None:
    """Let `yolo_mode` of older files mean `approval_mode: auto`, unless a mode was chosen beside it."""
    if values.get("yolo_mode") is True and values.get("approval_mode") is None:
        values["approval_mode"] = "auto"
        if owner := merged.owner(("yolo_mode",)):
            merged.own(("approval_mode",), owner)


def _project_changes(
    source: Source, merged: Merged, settings: Settings, env: Mapping[str, str]
) -> tuple[dict[str, Any], list[str]]:
    """What the project file changes, and the one line about what it may not."""
    kept, ignored = heard(source.values)
    layer = Merged()
    layer.lay(Source(source.label, kept, source.text))
    expanded = layer.substituted(without_secrets(env).get)
    laid = _validated({**dict(settings), **expanded}, layer)
    changes, refused = narrower(settings, laid, expanded)
    if "policy" in changes:
        changes["policy"] = settings.policy.model_copy(update=changes["policy"])
    for key in changes:
        merged.own((key,), source)
    if not (ignored or refused):
        return changes, []
    names = ", ".join(ignored + refused)
    return changes, [f"{source.label}: ignored {names}: a project file may only narrow settings."]


def _top_layers(merged: Merged, env: Mapping[str, str], flags: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by environment (`ML_INTERN_<KEY>`) and by flag, taken as they are."""
    variables = {f"ML_INTERN_{key.upper()}": key for key in _BY_ENVIRONMENT}
    by_env = {key: env[name] for name, key in variables.items() if env.get(name)}
    by_flag = {key: value for key, value in flags.items() if value is not None}
    environment = Source("environment", by_env, names={key: f"ML_INTERN_{key.upper()}" for key in by_env})
    if "yolo_mode" in by_env and "approval_mode" not in by_env and by_env["yolo_mode"].lower() in _TRUE:
        by_env["approval_mode"] = "auto"
        environment.names["approval_mode"] = "ML_INTERN_YOLO_MODE"
    names = {key: _FLAG_NAMES.get(key, f"--{key.replace('_', '-')}") for key in by_flag}
    merged.lay(environment)
    merged.lay(Source(COMMAND_LINE, by_flag, names=names))
    return by_env | by_flag


_TRUE = frozenset({"1", "true", "yes", "on"})


def _validated(values: dict[str, Any], merged: Merged) -> Settings:
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        _refuse(error, merged)


def _refuse(error: ValidationError, merged: Merged) -> NoReturn:
    """Turn pydantic's first complaint into one line that names the place and the remedy."""
    first = error.errors(include_url=False, include_context=False)[0]
    path: KeyPath = first["loc"]
    owner = merged.owner(path)
    place = owner.place(path) if owner else ".".join(str(part) for part in path)
    if first["type"] == "extra_forbidden":
        reason = f"unknown key {str(path[-1])!r}{_nearest(path)}"
    else:
        reason = first["msg"].removeprefix("Value error, ")
        reason = f"{reason[:1].lower()}{reason[1:]}{_as_written(path, owner)}"
    kind = UsageError if owner is not None and owner.label == COMMAND_LINE else UserError
    raise kind(f"{place}: {reason}.") from error


def _as_written(path: KeyPath, owner: Source | None) -> str:
    """The value as written: with `${…}` not yet filled in, since a variable's content may be secret."""
    value: Any = owner.values if owner else None
    for part in path:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return ""
    return "" if isinstance(value, dict | list) else f", not {json.dumps(value, ensure_ascii=False)[:80]}"


def _nearest(path: KeyPath) -> str:
    import difflib  # noqa: PLC0415 - needed for a mistake only

    known = _known_names(path[:-1])
    close = difflib.get_close_matches(str(path[-1]), known, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known are {', '.join(sorted(known))}" if known else ""


def _known_names(path: KeyPath) -> list[str]:
    model: Any = Settings
    for part in path:
        annotation = model.model_fields[part].annotation if str(part) in model.model_fields else None
        model = _inner_model(annotation) if annotation is not None else model
        if model is None:
            return []
    return list(model.model_fields)


def _inner_model(annotation: Any) -> type[BaseModel] | None:
    """The pydantic model inside `dict[str, Model]`, `list[Annotated[Model, …]]` or `Model | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = (_inner_model(argument) for argument in get_args(annotation))
    return next((model for model in inner if model is not None), None)


def _label(merged: Merged, key: str) -> str:
    owner = merged.owner((key,))
    return owner.names.get(key, owner.label) if owner else str(_HERE / CONFIG_NAME)
