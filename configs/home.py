"""The directories this program owns, and how files in them stay private."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ..errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

_REMEDY = "set ML_INTERN_HOME to a directory you can write"


def user_home(env: Mapping[str, str]) -> Path:
    """Home directory of the person, by `HOME` of the given environment."""
    return Path(env["HOME"]) if env.get("HOME") else Path.home()


def user_config_dir(env: Mapping[str, str]) -> Path:
    """`~/.config/ml-intern`: the person's settings, `.env` and AGENTS.md."""
    return user_home(env) / ".config" / "ml-intern"


def ml_intern_home(env: Mapping[str, str]) -> Path:
    """Directory of database, logs and snapshots: `ML_INTERN_HOME`, else the platform's data directory."""
    if chosen := env.get("ML_INTERN_HOME"):
        return _expanded(chosen, env)
    if sys.platform in {"darwin", "win32"}:
        from platformdirs import user_data_path  # noqa: PLC0415 - 20 ms that Linux need not pay

        return user_data_path("ml-intern", appauthor=False)
    base = env.get("XDG_DATA_HOME", "")
    # The XDG specification says that a relative path is to be ignored.
    data = Path(base) if base.startswith("/") else user_home(env) / ".local" / "share"
    return data / "ml-intern"


def prepare_home(path: Path) -> Path:
    """Make the directory, private (0700) from its first instant, and prove that it can be written.

    Raises:
        UserError: it cannot be made, is no directory, is read-only, or its disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            if not path.is_dir():
                raise UserError(f"{str(path)!r} is not a directory; {_REMEDY}.") from None
        status = path.stat()
        # The umask may have taken bits away, and an older directory may have too many.
        if status.st_uid == os.geteuid() and stat.S_IMODE(status.st_mode) != stat.S_IRWXU:
            path.chmod(0o700)
        _prove_writable(path)
    except OSError as error:
        raise UserError(f"Cannot use {str(path)!r}: {error.strerror or error}; {_REMEDY}.") from error
    return path


def open_private(path: Path, mode: str = "w") -> IO[Any]:
    """Open a file that only its owner can read (0600), whatever the umask; text is UTF-8."""

    def opener(name: str, flags: int) -> int:
        descriptor = os.open(name, flags, 0o600)
        if flags & (os.O_WRONLY | os.O_RDWR):
            os.fchmod(descriptor, 0o600)
        return descriptor

    encoding = None if "b" in mode else "utf-8"
    return open(path, mode, encoding=encoding, opener=opener)


def touch_private(path: Path) -> Path:
    """Make an empty private file unless it exists, e.g. before SQLite opens it; 0600 either way."""
    with open_private(path, "ab"):
        return path


def _prove_writable(path: Path) -> None:
    """Write a page: neither access bits nor free-space figures foretell a full or read-only disk."""
    import tempfile  # noqa: PLC0415 - loads random and shutil, which reading settings does not need

    with tempfile.TemporaryFile(dir=path) as probe:
        probe.write(b"\0" * 4096)
        probe.flush()


def _expanded(text: str, env: Mapping[str, str]) -> Path:
    if text == "~" or text.startswith("~/"):
        return user_home(env) / text[2:]
    return Path(text).expanduser().absolute()
