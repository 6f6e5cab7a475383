"""Which variables, settings and flags hold secrets: one answer for all who must keep them."""

from __future__ import annotations

import re

_SECRET = re.compile(
    r"""
      (?:TOKEN|KEY|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL)S?\d*(?:_|$)
    | (?:^|_)(?:AUTHORI[SZ]ATION|WEBHOOK)(?:_|$)
    | (?:^|_)(?:AUTH|AUTH_CONFIG|COOKIES?|DSN|PAT|PASS|HEADERS|CONNECTION_STRING)$
    | _PWD$ | ^SSHPASS$
    """,
    re.VERBOSE,
)
"""The first words also count in the middle, as in `AWS_ACCESS_KEY_ID` and `GITHUB_TOKEN_WORK`."""
_PLACE = re.compile(r"_(?:PATH|FILE|DIR|SOCK)$")
"""Of these names, the value says where a secret is and is none: git needs `SSH_AUTH_SOCK`."""
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_SEPARATOR = re.compile(r"[^A-Za-z0-9]+")
_URL_PASSWORD = re.compile(r"://[^/?#\s:@]*:[^/?#\s]+@")


def is_secret(name: str, value: str = "") -> bool:
    """Whether the name says that its value is secret, or the value is an address with a password in it.

    Args:
        name: of a variable (`HF_TOKEN`), a key (`apiKey`), a header (`X-Api-Key`) or a flag (`--token`).
        value: what it holds, if that is known.
    """
    if _URL_PASSWORD.search(value):
        return True
    words = _SEPARATOR.sub("_", _HUMP.sub("_", name)).strip("_").upper()
    if _PLACE.search(words) or (words.endswith("TOKENS") and value.isdecimal()):
        return False  # MAX_TOKENS=512 counts them
    return _SECRET.search(words) is not None
