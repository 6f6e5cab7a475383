"""The model server as a process of its own, for tests that kill things and for measurements."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from .script import Json


class ModelServerProcess:
    """Plays a JSON script in a child process, which ends with this one or with `stop`."""

    def __init__(self, script: Json, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._script = folder / "script.json"
        self._script.write_text(json.dumps(script), encoding="utf-8")
        self.journal_file = folder / "journal.jsonl"
        self._process: subprocess.Popen[str] | None = None
        self.base_url = ""
        """Ends in `/v1`."""

    @property
    def root_url(self) -> str:
        """Where Anthropic's clients point."""
        return self.base_url.removesuffix("/v1")

    def start(self) -> Self:
        """Start the child and wait for its address."""
        command = [sys.executable, "-m", "ml_intern.tests.bench.model_server"]
        command += ["--script", str(self._script), "--journal", str(self.journal_file)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.base_url = self._process.stdout.readline().strip()
        if not self.base_url:
            self.stop()
            raise RuntimeError("the model server process did not start; its error is above")
        return self

    def journal(self) -> list[Json]:
        """Every request so far, the unanswered ones too."""
        with urllib.request.urlopen(f"{self.root_url}/__journal", timeout=30) as answer:
            records: list[Any] = json.load(answer)
        return records

    def release(self, gate: str) -> None:
        """Let the answers go on that wait for this gate."""
        request = urllib.request.Request(f"{self.root_url}/__release/{gate}", data=b"", method="POST")
        urllib.request.urlopen(request, timeout=30).close()

    def stop(self) -> None:
        """End the child by closing its stdin."""
        if self._process is not None:
            self._process.communicate(timeout=30)
            self._process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.stop()
