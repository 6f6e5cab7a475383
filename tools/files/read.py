"""read: look at a file or directory."""

from __future__ import annotations

import asyncio
import base64
import codecs
import hashlib
import io
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from ...errors import ToolError
from ..base import Arguments, Tool, ToolContext, ToolResult
from . import notebook
from .offload import ask, own_script
from .paths import missing, resolve
from .text import PROBE_BYTES, encoding_of, is_binary, kind

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

DEFAULT_LINES = 2_000
LINE_CHARS = 4_000
TOTAL_CHARS = 24_000
"""Below the router's cap, since a page of a file needs no spill file: the file itself is there."""
IMAGE_LIMIT_BYTES = 3_750_000
"""5 MB once written as base64, the smallest limit among the large providers."""
NOTEBOOK_LIMIT_BYTES = 50_000_000
NOTEBOOK_TIMEOUT_S = 60.0
LISTED = 200
_PIECE_BYTES = 1 << 18

_IMAGES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)
_HINTS = {
    ".parquet": "look into it with pandas, pyarrow or duckdb in bash",
    ".arrow": "look into it with the datasets library in bash",
    ".safetensors": "its header can be read with safetensors.safe_open in bash",
    ".pdf": "convert it with pdftotext in bash",
    ".npy": "look into it with numpy in bash",
    ".npz": "look into it with numpy in bash",
    ".gz": "use zcat in bash",
    ".zip": "list it with `unzip -l` or `python -m zipfile -l` in bash",
}


class Read(Arguments):
    """Read a text file as numbered lines, 2,000 at most by default.

    Lines are cut at 4,000 characters. The last line tells how to go on when there is more. Notebooks (.ipynb)
    are shown cell by cell with their outputs, images as images if you can see them, directories as a list.
    A file must be read before it is edited or overwritten.
    """

    path: str = Field(
        description="File or directory; relative to the working directory, or absolute, or with ~."
    )
    offset: int = Field(default=1, ge=0, description="First line to show, counted from 1.")
    limit: int = Field(default=DEFAULT_LINES, ge=1, description="Most lines to show.")


@dataclass
class _Page:
    """A window on a stream of text, filled piece by piece in bounded memory."""

    first: int
    limit: int
    lines: list[str] = field(default_factory=list)
    cut_count: int = 0
    """Lines of the page that were longer than shown."""
    line_count: int = 0
    """Lines of the whole text that have ended so far."""
    _chars: int = 0
    _partial: str = ""
    _partial_chars: int = 0

    def feed(self, text: str) -> None:
        """Take a piece; its line ends are all `\\n`."""
        count = text.count("\n")
        if not self._wants(count):
            self.line_count += count
            self._begin(text[text.rfind("\n") + 1 :], fresh=bool(count))
            return
        *ended, rest = text.split("\n")
        for line in ended:
            self._begin(line, fresh=False)
            self._end_line()
        self._begin(rest, fresh=False)

    def _wants(self, count: int) -> bool:
        return self.line_count + count + 1 >= self.first and not self.full

    @property
    def full(self) -> bool:
        """No more lines are taken."""
        return len(self.lines) >= self.limit or self._chars >= TOTAL_CHARS

    def _begin(self, text: str, fresh: bool) -> None:
        if fresh:
            self._partial, self._partial_chars = "", 0
        self._partial_chars += len(text)
        room = LINE_CHARS - len(self._partial)
        if room > 0:
            self._partial += text[:room]

    def _end_line(self) -> None:
        self.line_count += 1
        if self.line_count >= self.first and not self.full:
            line = self._partial
            if self._partial_chars > LINE_CHARS:
                self.cut_count += 1
                line += f"... [{self._partial_chars - LINE_CHARS:,} more characters in this line]"
            if not self.lines or self._chars + len(line) <= TOTAL_CHARS:
                self.lines.append(line)
                self._chars += len(line) + 8
            else:
                self._chars = TOTAL_CHARS
        self._partial, self._partial_chars = "", 0

    def finish(self) -> None:
        """Take a last line without a line end."""
        if self._partial_chars:
            self._end_line()


async def run_read(arguments: Read, context: ToolContext) -> ToolResult:
    """Show a file; its hash is kept in `context.stamps` and in `details["stamps"]`."""
    path = await asyncio.to_thread(resolve, arguments.path, context)
    try:
        info = await asyncio.to_thread(os.stat, path)
        if stat.S_ISDIR(info.st_mode):
            return ToolResult(await asyncio.to_thread(_listing, path), details={"directory": True})
        if not stat.S_ISREG(info.st_mode):
            raise ToolError(f"{path} is {kind(info.st_mode)}, not a file.")
        head = await asyncio.to_thread(_head, path)
        if mime := _image_type(head):
            return await asyncio.to_thread(_image, path, mime, info.st_size, context)
        if path.suffix == ".ipynb" and (text := await _notebook(path, info.st_size)):
            page, digest = await asyncio.to_thread(_page_of_text, text, path, arguments)
        elif is_binary(head):
            raise ToolError(_binary(path, info.st_size))
        else:
            page, digest = await asyncio.to_thread(_page_of_file, path, arguments)
    except (FileNotFoundError, NotADirectoryError):
        raise ToolError(await asyncio.to_thread(missing, path)) from None
    except OSError as error:
        raise ToolError(f"{path} cannot be read: {error.strerror or error}.") from error
    context.stamps[str(path)] = digest
    return _result(page, path, digest)


def _result(page: _Page, path: Path, digest: str) -> ToolResult:
    details: dict[str, Any] = {
        "path": str(path),
        "stamps": {str(path): digest},
        "line_count": page.line_count,
    }
    if not page.line_count:
        return ToolResult("(the file is empty)", details=details)
    if not page.lines:
        raise ToolError(f"offset={page.first} is behind the end: {path} has {page.line_count:,} lines.")
    text = "\n".join(f"{number:6}\t{line}" for number, line in enumerate(page.lines, page.first))
    last = page.first + len(page.lines) - 1
    if last < page.line_count:
        text += f"\n(lines {page.first}-{last} of {page.line_count}; continue with offset={last + 1})"
    elif page.first > 1:
        text += f"\n(lines {page.first}-{last} of {page.line_count}, the end)"
    if page.cut_count:
        text += f"\n(long lines are cut at {LINE_CHARS:,} characters; see more of one with cut -c in bash)"
    return ToolResult(text, details=details)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(PROBE_BYTES)


def _page_of_file(path: Path, arguments: Read) -> tuple[_Page, str]:
    """The page and the file's hash, in one pass over a file of any size."""
    with path.open("rb") as file:
        encoding, bom = encoding_of(file.read(4))
        for candidate in (encoding, "latin-1"):
            file.seek(0)
            page, digest = _Page(max(arguments.offset, 1), arguments.limit), hashlib.sha256()
            decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(candidate)(), translate=True)
            try:
                for piece in _pieces(file, digest, len(bom) if candidate == encoding else 0):
                    page.feed(decoder.decode(piece))
                page.feed(decoder.decode(b"", final=True))
            except UnicodeDecodeError:
                continue
            page.finish()
            return page, digest.hexdigest()
    raise ToolError(f"{path} is neither text nor an image.")


def _pieces(file: BinaryIO, digest: Any, skipped_bytes: int) -> Iterator[bytes]:
    while piece := file.read(_PIECE_BYTES):
        digest.update(piece)
        yield piece[skipped_bytes:]
        skipped_bytes = 0


def _page_of_text(text: str, path: Path, arguments: Read) -> tuple[_Page, str]:
    page = _Page(max(arguments.offset, 1), arguments.limit)
    for start in range(0, len(text), _PIECE_BYTES):
        page.feed(text[start : start + _PIECE_BYTES])
    page.finish()
    with path.open("rb") as file:
        return page, hashlib.file_digest(file, "sha256").hexdigest()


async def _notebook(path: Path, size_bytes: int) -> str:
    """The notebook as text; empty when it is none, and then the file is shown as it is."""
    if size_bytes > NOTEBOOK_LIMIT_BYTES:
        raise ToolError(
            f"{path} is too large a notebook ({size_bytes:,} bytes); take it apart with jq in bash."
        )
    data = await asyncio.to_thread(path.read_bytes)
    answer = await ask(own_script(Path(notebook.__file__)), data, timeout_s=NOTEBOOK_TIMEOUT_S)
    return answer.output.decode("utf-8", "replace") if answer.exit_code == 0 else ""


def _image_type(head: bytes) -> str | None:
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    return next((mime for magic, mime in _IMAGES if head.startswith(magic)), None)


def _image(path: Path, mime: str, size_bytes: int, context: ToolContext) -> ToolResult:
    text = f"{path}: {mime}, {size_bytes:,} bytes"
    details = {"path": str(path), "mime": mime, "bytes": size_bytes}
    if not context.images:
        return ToolResult(f"{text}. This model takes no images, so only this can be told.", details=details)
    if size_bytes > IMAGE_LIMIT_BYTES:
        raise ToolError(
            f"{text}: more than the {IMAGE_LIMIT_BYTES:,} bytes a model takes; make it smaller in bash."
        )
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    url = f"data:{mime};base64,{data}"
    return ToolResult(
        [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": url}}], details=details
    )


def _binary(path: Path, size_bytes: int) -> str:
    hint = _HINTS.get(path.suffix.lower(), "look at it with a program in bash")
    return f"{path} is a binary file ({size_bytes:,} bytes), which cannot be shown as text; {hint}."


def _listing(path: Path) -> str:
    with os.scandir(path) as entries:
        names = sorted((not entry.is_dir(), entry.name) for entry in entries)
    lines = [
        f"{path} is a directory with {len(names):,} entries:" if names else f"{path} is an empty directory."
    ]
    for is_file, name in names[:LISTED]:
        size = _size(path / name) if is_file else ""
        lines.append(f"  {name}{size}" if is_file else f"  {name}/")
    if len(names) > LISTED:
        lines.append(f"  ... and {len(names) - LISTED:,} more; narrow it down with glob")
    return "\n".join(lines)


def _size(path: Path) -> str:
    try:
        return f"  ({path.stat().st_size:,} bytes)"
    except OSError:
        return "  (broken link)"


TOOLS = (Tool("read", Read, run_read, effect="read", timeout_s=120.0),)
