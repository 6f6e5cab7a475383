"""Keep a tool's output within what a model can take: head and tail stay, the whole goes to a file."""

from __future__ import annotations

import os
import re
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

LIMIT_CHARS = 25_000
"""Most characters of one result that reach the model, the note about the cut not counted."""
HEAD_CHARS = LIMIT_CHARS // 4
TAIL_CHARS = LIMIT_CHARS - HEAD_CHARS
NOTE_ROOM_CHARS = 2_000
"""What notes and footers may add to a text that was already cut."""
SPILL_LIMIT_BYTES = 64 * 1024 * 1024
"""Most of one output kept on disk; what comes after is only counted (and its end shown)."""
SLICE_CHARS = 1 << 20
"""Texts are handled in slices of this size, so that a thread working on one lets others run in between."""

_UNFIT = re.compile("[\x00\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Captured:
    """An output after its end."""

    text: str
    """All of it, or head, note and tail."""
    total_chars: int
    omitted_chars: int
    spill: Path | None
    """File with the whole output, when the text was cut."""

    def details(self) -> dict[str, Any]:
        """What a result's `details` say about the cut; empty when there was none."""
        if not self.omitted_chars:
            return {}
        cut: dict[str, Any] = {"total_chars": self.total_chars, "omitted_chars": self.omitted_chars}
        return cut | ({"spill": str(self.spill)} if self.spill else {})


def encodable(text: str) -> str:
    """The text with NULs and lone surrogates, which no wire or database takes, as U+FFFD."""
    return _UNFIT.sub("\ufffd", text) if _UNFIT.search(text) else text


def spill_path(spill_dir: Path, call_id: str, suffix: str = ".txt") -> Path:
    """The file for one call's whole output; the id is made safe as a file name."""
    return spill_dir / (re.sub(r"[^\w.-]", "_", call_id, flags=re.ASCII).lstrip(".")[:100] + suffix)


def open_spill(path: Path) -> int:
    """Create or empty a private file (0600 in a 0700 directory) and return its descriptor.

    Raises:
        OSError: the directory or file cannot be made.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


class Capture:
    """Takes an output of any length piece by piece in bounded memory and bounded disk space."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._whole: list[str] = []
        self._head = ""
        self._tail: deque[str] = deque()
        self._tail_chars = 0
        self._total_chars = 0
        self._spill_fd: int | None = None
        self._spilled_bytes = 0
        self._spill_state = "none"
        """none, open, full (limit reached) or failed (disk)."""

    def feed(self, text: str) -> None:
        """Take the next piece."""
        for start in range(0, len(text), SLICE_CHARS):
            self._feed(encodable(text[start : start + SLICE_CHARS]))

    def _feed(self, text: str) -> None:
        before, self._total_chars = self._total_chars, self._total_chars + len(text)
        if self._total_chars <= LIMIT_CHARS:
            self._whole.append(text)
            return
        if before <= LIMIT_CHARS:
            text = "".join((*self._whole, text))
            self._whole.clear()
            self._head = text[:HEAD_CHARS]
            self._open()
        self._write(text)
        self._keep_tail(text)

    def _keep_tail(self, text: str) -> None:
        text = text[-TAIL_CHARS:]
        self._tail.append(text)
        self._tail_chars += len(text)
        while self._tail_chars - len(self._tail[0]) >= TAIL_CHARS:
            self._tail_chars -= len(self._tail.popleft())

    def _open(self) -> None:
        try:
            self._spill_fd = open_spill(self._path)
            self._spill_state = "open"
        except OSError:
            self._spill_state = "failed"

    def _write(self, text: str) -> None:
        if self._spill_state != "open" or self._spill_fd is None:
            return
        room = SPILL_LIMIT_BYTES - self._spilled_bytes
        data = memoryview(text.encode())
        if len(data) > room:
            data = data[:room]
            self._spill_state = "full"
        try:
            while data:
                written = os.write(self._spill_fd, data)
                self._spilled_bytes += written
                data = data[written:]
        except OSError:
            self._spill_state = "failed"

    def finish(self) -> Captured:
        """Close the file and give what the model gets."""
        self.close()
        if self._total_chars <= LIMIT_CHARS:
            return Captured("".join(self._whole), self._total_chars, 0, None)
        tail = "".join(self._tail)[-TAIL_CHARS:]
        omitted = self._total_chars - len(self._head) - len(tail)
        note = f"[... {omitted:,} of {self._total_chars:,} characters left out here. {self._where()} ...]"
        spill = self._path if self._spilled_bytes else None
        return Captured(f"{self._head}\n\n{note}\n\n{tail}", self._total_chars, omitted, spill)

    def _where(self) -> str:
        page = f"{self._path}; page it with the read tool (offset, limit) or search it with grep"
        if self._spill_state == "open":
            return f"The whole output is in {page}."
        if self._spilled_bytes:
            return f"The first {self._spilled_bytes:,} bytes are in {page}; the rest was not kept."
        return "The whole output could not be kept on disk."

    def close(self) -> None:
        """Close the file; later pieces are only counted."""
        if self._spill_fd is not None:
            os.close(self._spill_fd)
            self._spill_fd = None


def cap(text: str, path: Path) -> Captured:
    """Cut one finished text; `path` is made only when it is too long."""
    capture = Capture(path)
    try:
        capture.feed(text)
    finally:
        captured = capture.finish()
    return captured
