"""The environment settings are read from: the process's own, completed by `.env` files."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from .home import user_config_dir, user_home
from .substitution import SubstitutionError, expand

if TYPE_CHECKING:
    from collections.abc import Mapping

_REDIRECTS = r"""
      (?:^|_)(?:HOST|HOSTS|HOSTNAME|ADDR|ADDRESS|SERVER|URL|URI|BASEURL|ENDPOINTS?|PROXY|API_BASE)(?:_|$)
    | ^(?:PATH|HOME|SHELL|ENV|IFS|CDPATH|TMPDIR|EDITOR|VISUAL|PAGER|BROWSER|KUBECONFIG)$
    | ^(?:PERL5LIB|PERL5OPT|RUBYOPT|RUBYLIB|NODE_OPTIONS|NODE_PATH)$
    | ^GIT_(?:SSH|EXEC|CONFIG|EDITOR|ASKPASS|DIR|WORK_TREE|TEMPLATE|EXTERNAL|PAGER|SEQUENCE)
    | ^SSH_(?:ASKPASS|AUTH_SOCK)
    | ^(?:ML_INTERN|LD|DYLD|BASH|XDG|SSL|PIP|UV|NPM_CONFIG)_
    | ^_ML_INTERN | ^PYTHON | CA_BUNDLE | CERT_FILE | CERT_DIR | CONFIG_FILE
    """
"""Names that move a host, or decide which program runs: a cloned repository must set none of them."""


@dataclass(frozen=True, slots=True)
class Environment:
    """The process environment completed by `.env` files."""

    values: dict[str, str]
    """What settings and tools see."""
    trusted: dict[str, str]
    """What the process environment and the person's own `.env` say: a host named here may get credentials."""
    origin: dict[str, Path]
    """Variable -> the `.env` file it came from; those of the process are not listed."""
    warnings: list[str] = field(default_factory=list)


def is_redirecting(name: str) -> bool:
    """Whether a variable could send a credential elsewhere or choose what code runs."""
    # Compiled at first use (and cached by re): most directories have no .env.
    return re.search(_REDIRECTS, name, re.VERBOSE | re.IGNORECASE) is not None


def effective_environment(environ: Mapping[str, str], cwd: Path) -> Environment:
    """Complete the process environment from the `.env` of `cwd`, of the person, and of an editable checkout.

    The first that sets a variable wins, the process before all. The file in `cwd` belongs to whoever wrote
    the repository, so names that `is_redirecting` are ignored there, with one warning. `HF_TOKEN` comes
    last from where `ml-intern login` and `hf auth login` store it.
    """
    result = Environment(values=dict(environ), trusted=dict(environ), origin={})
    personal = user_config_dir(environ) / ".env"
    for path in _env_files(cwd, personal):
        found = read_env_file(path, result, foreign=path.parent == cwd and path != personal)
        for name, value in found.items():
            if name in result.values:
                continue
            result.values[name] = value
            result.origin[name] = path
            if path == personal:
                result.trusted[name] = value
    if not result.values.get("HF_TOKEN", "").strip():
        _take_stored_token(result)
    return result


def stored_token_file(env: Mapping[str, str]) -> Path:
    """Where Hugging Face's tools store the token of this person."""
    if path := env.get("HF_TOKEN_PATH"):
        return Path(path).expanduser()
    cache = env.get("XDG_CACHE_HOME") or str(user_home(env) / ".cache")
    folder = env.get("HF_HOME") or f"{cache}/huggingface"
    return Path(folder).expanduser() / "token"


def _take_stored_token(result: Environment) -> None:
    """Set `HF_TOKEN` from the stored one; where it lies only the person may say."""
    if result.trusted.get("HF_HUB_DISABLE_IMPLICIT_TOKEN", "").strip().upper() in {"1", "ON", "YES", "TRUE"}:
        return
    path = stored_token_file(result.trusted)
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return
    if token:
        result.values["HF_TOKEN"] = result.trusted["HF_TOKEN"] = token
        result.origin["HF_TOKEN"] = path


def read_env_file(path: Path, known: Environment, *, foreign: bool) -> dict[str, str]:
    """Variables one `.env` file sets; what is wrong with it goes to `known.warnings`.

    `${NAME}` is expanded from the lines above and, unless the file is `foreign`, from `known.values`: a
    repository's file must not copy one of the person's keys into another variable.
    """
    from dotenv.parser import parse_stream  # noqa: PLC0415 - 25 ms, and most directories have no .env

    found: dict[str, str] = {}
    ignored: list[str] = []
    outer = {} if foreign else known.values
    try:
        with path.open(encoding="utf-8-sig") as stream:
            bindings = list(parse_stream(stream))
    except (OSError, UnicodeDecodeError) as error:
        known.warnings.append(f"{path} is ignored: {error}")
        return {}
    for binding in bindings:
        if binding.error:
            known.warnings.append(f"{path}:{binding.original.line}: not understood, line ignored")
        elif binding.key is not None and binding.value is not None:
            if foreign and is_redirecting(binding.key):
                ignored.append(binding.key)
            else:
                found[binding.key] = _expanded(binding.value, {**outer, **found})
    if ignored:
        names = ", ".join(dict.fromkeys(ignored))
        known.warnings.append(
            f"{path}: ignored {names}: a project's .env may set keys, not hosts or paths; "
            f"use the environment or ~/.config/ml-intern/.env"
        )
    return found


def _env_files(cwd: Path, personal: Path) -> list[Path]:
    checkout = Path(__file__).resolve().parents[1]
    files = [cwd / ".env", personal]
    if (checkout / "pyproject.toml").is_file():
        files.append(checkout / ".env")
    return [path for path in dict.fromkeys(files) if path.is_file()]


def _expanded(value: str, lookup: Mapping[str, str]) -> str:
    try:
        return expand(value, lambda name: lookup.get(name, ""))
    except SubstitutionError:
        return value  # a password may well hold "${"
