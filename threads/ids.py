"""Thread ids: short, typable, found by a unique prefix."""

from __future__ import annotations

import difflib
import re
import secrets
from typing import TYPE_CHECKING

from ..errors import UsageError, UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
LENGTH = 8
_VALID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def new_id() -> str:
    """A fresh id of eight characters that are not mistaken for each other."""
    return "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))


def check_id(text: str) -> str:
    """The id a person chose with `-t`.

    Raises:
        UsageError: It has characters that file names or shells would trip over.
    """
    if not _VALID.fullmatch(text):
        raise UsageError(f"{text!r} cannot be a thread id: use up to 64 letters, digits, '.', '_' and '-'.")
    return text


def resolve(text: str, known: Sequence[str]) -> str:
    """The one id that equals `text` or begins with it.

    Raises:
        UserError: None or several do; the text suggests near ones.
    """
    if text in known:
        return text
    found = [thread_id for thread_id in known if text and thread_id.startswith(text)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(f"{text!r} begins several threads: {', '.join(sorted(found)[:10])}; type more of it.")
    near = difflib.get_close_matches(text, known, n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(near)}? See" if near else "see"
    raise UserError(f"No thread {text!r}; {hint} `ml-intern threads list`, or use -c for the last one here.")
