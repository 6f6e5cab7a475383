"""A text file as bytes and as text: encoding, byte order mark, line ends, hash, safe replacement."""

from __future__ import annotations

import bisect
import codecs
import contextlib
import hashlib
import os
import re
import secrets
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...errors import ToolError

if TYPE_CHECKING:
    from pathlib import Path

    from ..base import ToolContext

EDIT_LIMIT_BYTES = 10 * 1024 * 1024
"""Larger files are better changed by a program."""
PROBE_BYTES = 8192

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


@dataclass(frozen=True, slots=True)
class Text:
    """A decoded file; `encode` gives back the very same bytes for the same text."""

    text: str
    encoding: str
    bom: bytes

    def encode(self, text: str) -> bytes:
        """Bytes of a new text in the file's encoding.

        Raises:
            ToolError: the encoding has no such character.
        """
        try:
            return self.bom + text.encode(self.encoding)
        except UnicodeEncodeError as error:
            raise ToolError(
                f"The file is {self.encoding}, which has no {text[error.start]!r}; convert it to UTF-8 first."
            ) from None


def encoding_of(head: bytes) -> tuple[str, bytes]:
    """Encoding and byte order mark that the first bytes tell; UTF-8 without a mark."""
    return next(((name, bom) for bom, name in _BOMS if head.startswith(bom)), ("utf-8", b""))


def is_binary(head: bytes) -> bool:
    """Whether the first bytes of a file are no text: NULs, and no mark of UTF-16."""
    encoding, _ = encoding_of(head)
    return encoding == "utf-8" and b"\0" in head


def decode(data: bytes, path: Path) -> Text:
    """Decode a whole file: by its mark, as UTF-8, else as Latin-1, which takes every byte.

    Raises:
        ToolError: binary data.
    """
    if is_binary(data[:PROBE_BYTES]):
        raise ToolError(f"{path} is a binary file ({len(data):,} bytes).")
    encoding, bom = encoding_of(data)
    try:
        return Text(data[len(bom) :].decode(encoding), encoding, bom)
    except UnicodeDecodeError:
        if encoding != "utf-8":
            raise ToolError(f"{path} is a binary file ({len(data):,} bytes).") from None
        # A mark before text that is not UTF-8 is only three odd characters.
        return Text(data.decode("latin-1"), "latin-1", b"")


def sha256(data: bytes) -> str:
    """Hash of a file's content, hex."""
    return hashlib.sha256(data).hexdigest()


def load(path: Path) -> bytes:
    """Content of a regular file small enough to be edited.

    Raises:
        ToolError: too large, no regular file, or not readable.
    """
    try:
        info = path.stat()
        if not stat.S_ISREG(info.st_mode):
            raise ToolError(f"{path} is {kind(info.st_mode)}, not a file.")
        if info.st_size > EDIT_LIMIT_BYTES:
            raise ToolError(
                f"{path} is too large for this tool ({info.st_size:,} bytes); change it with a program."
            )
        return path.read_bytes()
    except OSError as error:
        raise ToolError(f"{path} cannot be read: {error.strerror or error}.") from error


def kind(mode: int) -> str:
    """What a path is, in words."""
    names = ((stat.S_ISDIR, "a directory"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))
    return next((name for test, name in names if test(mode)), "a device")


def require_fresh(path: Path, current: str, context: ToolContext) -> None:
    """Refuse to change a file whose present content the model has not seen.

    Raises:
        ToolError: never read in this thread, or changed since.
    """
    seen = context.stamps.get(str(path))
    if seen is None:
        raise ToolError(f"{path} exists and was not read yet in this conversation; read it first.")
    if seen != current:
        raise ToolError(
            f"{path} has changed on disk since it was last read or written here; read it again first."
        )


def replace_file(path: Path, data: bytes) -> None:
    """Put new content in a file in one step; owner and mode of an old one stay.

    Args:
        path: already resolved: a symbolic link to it stays what it is.
        data: the whole content.

    Raises:
        ToolError: the directory or file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        old = path.stat() if path.exists() else None
        if old is not None and not stat.S_ISREG(old.st_mode):
            raise ToolError(f"{path} is {kind(old.st_mode)}, not a file.")
        if old is not None and not os.access(path, os.W_OK):
            raise ToolError(f"{path} is write-protected.")
        if not os.access(path.parent, os.W_OK):
            # The file may be writable although its directory is not: no second file can be made there.
            _write_in_place(path, data)
            return
        _swap(path, data, old)
    except OSError as error:
        raise ToolError(f"{path} cannot be written: {error.strerror or error}.") from error


def _swap(path: Path, data: bytes, old: os.stat_result | None) -> None:
    new = path.with_name(f".{path.name[:100]}.{secrets.token_hex(6)}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            if old is not None:
                with contextlib.suppress(PermissionError):
                    os.fchown(descriptor, old.st_uid, old.st_gid)
                os.fchmod(descriptor, stat.S_IMODE(old.st_mode))
            os.fsync(descriptor)
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _write_in_place(path: Path, data: bytes) -> None:
    with path.open("r+b") as file:
        file.write(data)
        file.truncate()
        os.fsync(file.fileno())


class Lines:
    """A text with every line end as one `\\n`, and the way back to places in the original."""

    def __init__(self, raw: str) -> None:
        self.raw = raw
        self.text = raw.replace("\r\n", "\n").replace("\r", "\n") if "\r" in raw else raw
        pairs = [match.start() for match in re.finditer("\r\n", raw)] if "\r" in raw else []
        self._ends = [place - index for index, place in enumerate(pairs)]
        count = {"\r\n": len(pairs), "\n": raw.count("\n") - len(pairs), "\r": raw.count("\r") - len(pairs)}
        self._usual = max(count, key=lambda end: count[end]) if self.text.count("\n") else "\n"

    def place(self, index: int) -> int:
        """Place in the original of a place in `text`."""
        return index + bisect.bisect_left(self._ends, index)

    def line_end(self, start: int, end: int) -> str:
        """The line end that new text between two places of `text` should have."""
        first = self.text.find("\n", start, end)
        if first < 0:
            return self._usual
        place = self.place(first)
        return "\r\n" if self.raw.startswith("\r\n", place) else self.raw[place]
