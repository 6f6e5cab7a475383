"""What a repository's own settings file may do: narrow, never widen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .schema import UNLIMITED
from .secret_names import is_secret

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from .schema import Settings

PROJECT_FILE = ".ml-intern/config.json"

MAY_SET = frozenset(
    {"model_name", "reasoning_effort", "max_cost", "max_iterations", "approval_mode", "policy"}
)
"""Keys a project file is heard on; of `policy` only `deny` and `ask`."""

_STRICTNESS: dict[str | None, int] = {None: 0, "auto": 0, "ask": 1, "deny": 2}


def repository_root(cwd: Path) -> Path:
    """Nearest directory from `cwd` upwards that holds `.git`; `cwd` itself when there is none."""
    return next((folder for folder in (cwd, *cwd.parents) if (folder / ".git").exists()), cwd)


def project_file(cwd: Path) -> Path | None:
    """The settings file nearest to `cwd` within its repository, if any."""
    root = repository_root(cwd)
    for folder in (cwd, *cwd.parents):
        candidate = folder / PROJECT_FILE
        if candidate.is_file():
            return candidate
        if folder == root:
            return None
    return None


def without_secrets(env: Mapping[str, str]) -> dict[str, str]:
    """The variables a project file may read by `${…}`: a model name must not carry a key away."""
    return {name: value for name, value in env.items() if not is_secret(name, value)}


def heard(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Split a project file into the keys it is heard on and the names of the rest."""
    kept: dict[str, Any] = {}
    ignored: list[str] = []
    for key, value in values.items():
        if key not in MAY_SET:
            ignored.append(key)
        elif key == "policy" and isinstance(value, dict):
            kept[key] = {kind: rules for kind, rules in value.items() if kind != "allow"}
            ignored.extend(f"policy.{kind}" for kind in value if kind == "allow")
        else:
            kept[key] = value
    return kept, ignored


def narrower(base: Settings, project: Settings, keys: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The changes of a project file that narrow `base`, and the names of those that would widen it.

    Args:
        base: packaged and personal settings.
        project: `base` with the project's `keys` laid over it, validated.
        keys: what the project file sets, after `heard`.
    """
    changes: dict[str, Any] = {}
    refused: list[str] = []
    for key in keys:
        if key == "policy":
            changes[key] = {
                "deny": [*base.policy.deny, *project.policy.deny],
                "ask": [*base.policy.ask, *project.policy.ask],
            }
        elif _narrows(key, getattr(base, key), getattr(project, key)):
            changes[key] = getattr(project, key)
        else:
            refused.append(key)
    return changes, refused


def _narrows(key: str, before: Any, after: Any) -> bool:
    if key == "approval_mode":
        # An unset mode asks interactively, so "auto" beside it would widen.
        return bool(after == before or _STRICTNESS[after] > _STRICTNESS[before])
    if key == "max_cost":
        return after is not None and (before is None or bool(after <= before))
    if key == "max_iterations":
        return after != UNLIMITED and (before == UNLIMITED or bool(after <= before))
    return True
