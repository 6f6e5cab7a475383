"""Keep keys and tokens out of what people and files get to see."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ..configs.secret_names import is_secret
from .streams import without_surrogates

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MARK = "[REDACTED]"

_SECRET_IN_CODE = re.compile(
    r"(?i:(?:api|secret|access|private|auth)[_-]?key(?:[_-]id)?$)"
    r"|(?i:(?:api|auth|access|refresh|session|bearer|bot|app|hf|hub|github)[_-]?token$)"
    r"|(?i:(?:secret|password|passwd|passphrase)$)"
)
"""Lower-case names that promise a secret in code and data, where `pad_token` and `primary_key` are none."""

_SHORTEST = 8
"""Shorter values are words like `test` or `none`; replacing them would mangle ordinary text."""

_SHAPES = re.compile(
    r"""
      (?<![A-Za-z0-9])(?:
        hf_(?:oauth_|jwt_)[\w.\-]{16,}
      | hf_[A-Za-z0-9]{30,}
      | sk-(?=[\w\-]{0,60}\d)[\w\-]{20,}
      | gsk_[A-Za-z0-9]{40,}
      | gh[pousr]_[A-Za-z0-9]{30,}
      | github_pat_\w{30,}
      | glpat-[\w\-]{20,}
      | xox[abeoprs]-[A-Za-z0-9\-]{10,}
      | xapp-[A-Za-z0-9\-]{20,}
      | npm_[A-Za-z0-9]{36}
      | pypi-[\w\-]{50,}
      | AIza[\w\-]{35}
      | (?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])
      | (?<![\w\-])eyJ[\w\-]{10,}\.eyJ[\w\-]{10,}\.[\w\-]{10,}
      )
    | -----BEGIN\ [A-Z ]*PRIVATE\ KEY-----.*?(?:-----END\ [A-Z ]*PRIVATE\ KEY-----|\Z)
    """,
    re.VERBOSE | re.DOTALL,
)

_BEARER = re.compile(r"(?i)(\b(?:bearer|basic)\s+)(?=[\w\-.~+/]*\d)[\w\-.~+/]{16,}=*")
_URL_PASSWORD = re.compile(r"(?<=://)([^\s/:@\"']*):([^\s/@\"']{3,})(?=@)")

_ASSIGNED = re.compile(
    r"""
    (?<![\w\-])(?P<name>[A-Za-z][\w\-]{0,80}+)
    (?P<between>\\?["']?\s*[:=]\s*)
    (?:(?P<quote>\\?["'])(?P<quoted>[^"'\\\s]{8,})(?P=quote)|(?P<bare>[^\s"'\\,;)\]}]{8,}))
    """,
    re.VERBOSE,
)
_OPAQUE = re.compile(r"(?=.*\d)(?=.*[A-Za-z])[\w\-+/=.~!@#%^&*]+")
_CODE = re.compile(r"^[A-Za-z_][A-Za-z_]*(?:\.[A-Za-z_]\w*)+$|[(\[{$<]")
_PASSWORD_NAME = re.compile(r"PASSW|PASSPHRASE|_PASS$|_PWD$", re.IGNORECASE)


def secret_values(env: Mapping[str, str]) -> tuple[str, ...]:
    """Values of the variables that hold secrets, longest first."""
    found = {value.strip() for name, value in env.items() if is_secret(name, value)}
    # Some such variables hold the path of a key file, which is no secret.
    kept = (value for value in found if len(value) >= _SHORTEST and not value.startswith(("/", "~")))
    return tuple(sorted(kept, key=len, reverse=True))


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Replace secrets by `[REDACTED]`, leaving code such as `pad_token = eos_token` as it is.

    Three nets: the given values, also as JSON or in a URL; well-known shapes (Hugging Face, OpenAI,
    Anthropic, GitHub, Slack, AWS, …, private keys, passwords in URLs); and values assigned to a name that
    says it is secret, if the value looks like one and not like code.
    """
    if len(text) < _SHORTEST:
        return text
    for secret in secrets:
        if secret in text:
            text = text.replace(secret, MARK)
        for written in (json.dumps(secret)[1:-1], quote(secret, safe="")):
            if written != secret and written in text:
                text = text.replace(written, MARK)
    text = _SHAPES.sub(MARK, text)
    text = _BEARER.sub(rf"\1{MARK}", text)
    if "://" in text:
        text = _URL_PASSWORD.sub(rf"\1:{MARK}", text)
    return _ASSIGNED.sub(_assignment, text) if ":" in text or "=" in text else text


def redact_data(value: Any, secrets: Iterable[str] = ()) -> Any:
    """Redact all strings of JSON-like data, and whatever stands under a key that names a secret.

    The copy is plain JSON that any parser takes: not-a-number and infinities become None, lone surrogates the
    replacement character, other objects their text.
    """
    secrets = tuple(secrets)
    if isinstance(value, str):
        return redact(without_surrogates(value), secrets)
    if isinstance(value, dict):
        return {without_surrogates(str(key)): _under(str(key), item, secrets) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redact_data(item, secrets) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float):
        return value
    return redact(without_surrogates(str(value)), secrets)


def _under(key: str, value: Any, secrets: tuple[str, ...]) -> Any:
    if isinstance(value, str) and _promises_secret(key, value):
        return MARK
    return redact_data(value, secrets)


def _promises_secret(name: str, value: str) -> bool:
    if value == MARK or not (_SECRET_IN_CODE.search(name) or (name.isupper() and is_secret(name))):
        return False
    if _PASSWORD_NAME.search(name):
        return len(value) >= _SHORTEST and _CODE.search(value) is None
    return len(value) >= _SHORTEST and _OPAQUE.fullmatch(value) is not None and _CODE.search(value) is None


def _assignment(match: re.Match[str]) -> str:
    name, quoted, bare = match["name"], match["quoted"], match["bare"]
    whole: str = match.group()
    if quoted is not None:
        return whole.replace(quoted, MARK) if _promises_secret(name, quoted) else whole
    # Unquoted values are secrets in a shell or an .env file, where names are upper case; else they are code.
    return whole.replace(bare, MARK) if name.isupper() and _promises_secret(name, bare) else whole
