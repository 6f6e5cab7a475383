"""Write text to streams that may be closed, full, or unable to show every character."""

from __future__ import annotations

import errno
import os
import re
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Mapping

_SURROGATE = re.compile("[\ud800-\udfff]")
_CONTROL = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
)


def without_surrogates(text: str) -> str:
    """Replace lone surrogates, which no encoding can carry, by the replacement character."""
    return _SURROGATE.sub("\ufffd", text) if _SURROGATE.search(text) else text


def without_controls(text: str) -> str:
    """Take out escape sequences and control characters, keeping tab and newline."""
    return _CONTROL.sub("", text)


def colours_wanted(stream: TextIO | None, env: Mapping[str, str]) -> bool:
    """Whether to colour: a terminal that is not dumb, and no `NO_COLOR`."""
    return is_terminal(stream) and not env.get("NO_COLOR") and env.get("TERM") != "dumb"


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a stream is an open terminal."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False


class Writer:
    """A text stream whose writes never raise; after a failure it swallows everything."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self.failure: OSError | None = None
        """What ended it, if anything; `closed_early` tells a reader who left from a full disk."""

    @property
    def closed_early(self) -> bool:
        """Whether the reader went away, which is no error (`ml-intern … | head`)."""
        return self.failure is not None and self.failure.errno in {errno.EPIPE, errno.ECONNRESET}

    @property
    def encoding(self) -> str:
        """Encoding of the stream, in lower case."""
        return (getattr(self._stream, "encoding", None) or "utf-8").lower()

    def write(self, text: str) -> None:
        """Write and flush; what the encoding lacks appears as backslash escapes."""
        if self._stream is None or self.failure is not None:
            return
        text = without_surrogates(text)
        try:
            try:
                self._stream.write(text)
            except UnicodeEncodeError:
                self._stream.write(text.encode(self.encoding, "backslashreplace").decode(self.encoding))
            self._stream.flush()
        except OSError as error:
            self._give_up(error)
        except ValueError as error:  # the stream object was closed
            self._give_up(OSError(errno.EPIPE, str(error)))

    def _give_up(self, error: OSError) -> None:
        self.failure = error
        if self._stream is None:
            return
        try:
            # What is still buffered must have somewhere to go, or the interpreter complains at exit.
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)
        except (OSError, ValueError):
            self._stream = None
