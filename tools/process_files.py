"""Recognise the files in /proc that show the environment, and with it the keys, of a process."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

_ENVIRON = re.compile(r"/proc/[^/]+(?:/task/[^/]+)?/([^/]+)")
_ABOVE = re.compile(r"/proc(?:/[^/]+(?:/task(?:/[^/]+)?)?)?")
_PROC = re.compile(r"(?<![\w.])/proc\b")
_NAMED = re.compile(r"""(?:[/"'{,]|-i?name )environ\b""")


def is_environment(path: str) -> bool:
    """Whether it is `/proc/*/environ`, or a glob that stands for it.

    Args:
        path: absolute and normalized; a variable such as `$PPID` may stand for a directory.
    """
    match = _ENVIRON.fullmatch(path)
    return match is not None and fnmatchcase("environ", match[1])


def holds_environment(path: str) -> bool:
    """Whether a search below this directory reads such a file."""
    return _ABOVE.fullmatch(path) is not None


def names_environment(text: str) -> bool:
    """Whether a command or the code in it names such a file, however the path is put together from pieces."""
    start = _PROC.search(text)
    # Two steps, as one pattern would try every /proc against all the text behind it.
    return start is not None and _NAMED.search(text, start.end()) is not None
