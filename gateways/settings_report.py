"""`ml-intern config`: every setting with its value and source, the files, and a first file of one's own."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..configs.env_file import effective_environment
from ..configs.home import user_config_dir, user_home
from ..configs.project import project_file
from ..configs.schema import INEFFECTIVE
from ..configs.secret_names import is_secret
from ..configs.settings import CONFIG_NAME, load_settings
from ..errors import UserError
from .redaction import MARK, redact_data, secret_values
from .streams import Writer
from .tables import print_table

if TYPE_CHECKING:
    from collections.abc import Mapping

Output = Literal["text", "json"]

_CONFIGS = Path(__file__).parents[1] / "configs"
_TEMPLATE = _CONFIGS / "user_config.json"
_QUERY = re.compile(r"([?&])([^=&#\s]+)=([^&#\s]+)")
_VALUE_CHARS = 60


def show_settings(environ: Mapping[str, str], *, output: Output) -> None:
    """Print every key, its value without secrets, where it was set, and why it has no effect if it has none.

    Raises:
        UserError: A source of settings is broken.
    """
    loaded = load_settings(environ=environ, cwd=Path.cwd())
    secrets = secret_values(loaded.env)
    packaged = str(_CONFIGS / CONFIG_NAME)
    rows = [
        {
            "key": key,
            "value": redact_data(without_secrets(value, key), secrets),
            "origin": "default" if loaded.origin[key] == packaged else loaded.origin[key],
            "no_effect": INEFFECTIVE.get(key),
        }
        for key, value in loaded.settings.model_dump(mode="json").items()
    ]
    for line in loaded.warnings:
        Writer(sys.stderr).write(line + "\n")
    if output == "json":
        Writer(sys.stdout).write(json.dumps(rows, indent=2) + "\n")
        return
    print_table(
        ("key", "value", "set by", "no effect because"),
        [(row["key"], _shown(row["value"]), row["origin"], row["no_effect"]) for row in rows],
        sys.stdout,
        env=environ,
    )


def show_paths(environ: Mapping[str, str], *, output: Output) -> None:
    """Print the files that are read, also when what they hold is broken, and one's own if it is missing."""
    cwd = Path.cwd()
    environment = effective_environment(environ, cwd)
    project = project_file(cwd)
    listed = [
        ("defaults", _CONFIGS / CONFIG_NAME),
        ("yours", user_file(environment.values)),
        *([("project", project)] if project else []),
        *(("keys", path) for path in dict.fromkeys(environment.origin.values())),
    ]
    rows = [{"role": role, "path": str(path), "exists": path.is_file()} for role, path in listed]
    if output == "json":
        Writer(sys.stdout).write(json.dumps(rows, indent=2) + "\n")
        return
    print_table(
        ("role", "path", ""),
        [
            (
                row["role"],
                row["path"],
                None if row["exists"] else "not there; `ml-intern config init` writes it",
            )
            for row in rows
        ],
        sys.stdout,
        env=environ,
    )


def write_user_file(environ: Mapping[str, str]) -> None:
    """Write the person's first settings file and print its path.

    Raises:
        UserError: There is one already, or it cannot be written.
    """
    path = user_file(environ)
    text = _TEMPLATE.read_text(encoding="utf-8")
    try:
        if not path.parent.is_dir():
            path.parent.mkdir(mode=0o700, parents=True)
        # O_EXCL: another process may write it between a look and this.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        if not path.exists():
            raise UserError(f"{path} cannot be written: {path.parent} is no directory.") from error
        raise UserError(f"{path} is there already and was left as it is; edit it instead.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}.") from error
    Writer(sys.stdout).write(f"{path}\n")


def user_file(env: Mapping[str, str]) -> Path:
    """The person's settings file, whether or not it is there."""
    chosen = env.get("ML_INTERN_CLI_CONFIG")
    if not chosen:
        return user_config_dir(env) / CONFIG_NAME
    return user_home(env) / chosen[2:] if chosen.startswith("~/") else Path(chosen).expanduser().absolute()


def without_secrets(value: Any, key: str = "") -> Any:
    """The value with everything replaced that stands under, or right after, a name that says it is secret.

    Servers and destinations of other programs keep their keys under names of their own, in arguments
    (`--token X`) and in addresses (`?key=X`).
    """
    if isinstance(value, dict):
        return {name: without_secrets(item, str(name)) for name, item in value.items()}
    if isinstance(value, list):
        before = ["", *(item if _is_flag(item) else "" for item in value)]
        return [without_secrets(item, flag) for flag, item in zip(before, value, strict=False)]
    if not isinstance(value, str) or not value:
        return value
    if is_secret(key):
        return MARK
    flag, equals, _ = value.partition("=")
    if equals and flag.startswith("-") and is_secret(flag):
        return f"{flag}={MARK}"
    return _QUERY.sub(_parameter, value)


def _parameter(match: re.Match[str]) -> str:
    before, name, _ = match.groups()
    # The signature of an address opens what it points to.
    secret = is_secret(name) or name.lower().endswith(("sig", "signature"))
    return f"{before}{name}={MARK}" if secret else match.group()


def _is_flag(item: Any) -> bool:
    """Whether the next argument is its value."""
    return isinstance(item, str) and item.startswith("-") and "=" not in item


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _VALUE_CHARS else f"{text[: _VALUE_CHARS - 3]}..."
