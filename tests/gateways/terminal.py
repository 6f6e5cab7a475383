"""A terminal to write to, and what appeared on it."""

from __future__ import annotations

import os
import pty
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterator


class Screen:
    """Everything that was written, known once the terminal is closed."""

    text = ""


@contextmanager
def terminal() -> Iterator[tuple[TextIO, Screen]]:
    master, slave = pty.openpty()
    screen = Screen()
    try:
        with os.fdopen(slave, "w", encoding="utf-8") as stream:
            yield stream, screen
        screen.text = _rest(master).decode()
    finally:
        os.close(master)


def _rest(master: int) -> bytes:
    read = b""
    while True:
        try:
            piece = os.read(master, 65_536)
        except OSError:  # Linux says so when the other end is closed and all was read
            return read
        if not piece:
            return read
        read += piece
