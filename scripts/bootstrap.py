"""Install what is missing, then run: `python3 scripts/bootstrap.py demo`, `… test`, `… lint`.

Needs Python 3.11 or later and pip, nothing else, and leaves nothing outside this directory but
uv's download cache. Words after the task go to it: `python3 scripts/bootstrap.py test tests/tools -x`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PRIVATE = ROOT / ".bootstrap"
"""Where uv goes when the machine has none; nothing of the system's Python is touched."""
BIN = "Scripts" if os.name == "nt" else "bin"
OLDEST_UV = (0, 8)

TASKS = {
    "demo": [["ml-intern", "demo"]],
    "test": [["pytest"]],
    "lint": [
        ["ruff", "check"],
        ["ruff", "format", "--check"],
        ["mypy"],
        ["pytest", "-q", "tests/test_layout.py"],
    ],
    "sync": [],
}
"""Task -> its commands, in the project's environment."""


def main(arguments: list[str]) -> int:
    """Run one task; returns its exit code."""
    if not arguments or arguments[0] not in TASKS:
        print(f"usage: python3 scripts/bootstrap.py {{{'|'.join(TASKS)}}} [ARGUMENT ...]", file=sys.stderr)
        return 2
    task, *more = arguments
    if sys.version_info < (3, 11):  # noqa: UP036 - this file runs before anything is installed
        print(f"ml-intern needs Python 3.11 or later; this is {sys.version.split()[0]}.", file=sys.stderr)
        return 1
    environment = {**os.environ}
    # Without compiled files every start takes three times as long.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    # A virtual environment that is active somewhere else has no say here.
    environment.pop("VIRTUAL_ENV", None)
    uv = find_uv(environment)
    groups = ["--no-dev", "--inexact"] if task == "demo" else []
    steps = [[uv, "sync", "--frozen", "--compile-bytecode", *groups, *python(environment)]]
    steps += [[uv, "run", "--frozen", "--no-sync", *command] for command in TASKS[task]]
    if TASKS[task]:
        steps[-1] += more
    for step in steps:
        code = subprocess.run(step, cwd=ROOT, env=environment, check=False).returncode
        if code:
            return code
    return 0


def python(environment: dict[str, str]) -> list[str]:
    """Which interpreter a new environment gets: the one that runs this, not one uv would fetch."""
    chosen = environment.get("UV_PYTHON") or (ROOT / ".venv").exists()
    return [] if chosen or environment.get("UV_PROJECT_ENVIRONMENT") else ["--python", sys.executable]


def find_uv(environment: dict[str, str]) -> str:
    """The machine's uv if it is recent enough, else one of our own."""
    found = shutil.which("uv")
    if found and is_recent(found):
        return found
    own = PRIVATE / BIN / "uv"
    if not (own.exists() and is_recent(str(own))):
        print("Installing uv into .bootstrap/ ...", file=sys.stderr, flush=True)
        install_uv(environment)
    return str(own)


def is_recent(uv: str) -> bool:
    """Whether this uv runs and knows our lock file."""
    try:
        answer = subprocess.run([uv, "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    version = answer.stdout.split()[1].split(".")
    return tuple(int(part) for part in version[:2]) >= OLDEST_UV


def install_uv(environment: dict[str, str]) -> None:
    """Let pip put uv into `.bootstrap`: a directory of its own, so pip never calls it the system's.

    Raises:
        SystemExit: pip could not.
    """
    pip, target = [sys.executable, "-m", "pip"], ["--target", str(PRIVATE), "--upgrade"]
    if subprocess.run([*pip, "--version"], capture_output=True, check=False).returncode:
        subprocess.run([sys.executable, "-m", "venv", str(PRIVATE)], env=environment, check=True)
        pip, target = [str(PRIVATE / BIN / "python"), "-m", "pip"], []
    options = ["--quiet", "--disable-pip-version-check", "--no-input"]
    command = [*pip, "install", *options, *target, f"uv>={'.'.join(map(str, OLDEST_UV))}"]
    code = subprocess.run(command, env=environment, check=False).returncode
    if code:
        raise SystemExit(f"uv could not be installed (pip ended with {code}); install uv, then repeat.")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
