"""`ml-intern doctor`: look at everything a run needs, change nothing, say what is wrong."""

from __future__ import annotations

import json
import os
import platform
import shutil
import stat
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from ..configs.home import ml_intern_home
from ..configs.models import choose_model, packaged_models
from ..configs.schema import INEFFECTIVE
from ..configs.settings import load_settings
from ..errors import UserError
from ..llm.routes import PROVIDER_KEYS, resolve
from ..threads import lease
from ..threads.database_check import check_database
from ..threads.model_settings import model_settings
from ..threads.store import DATABASE_NAME
from .redaction import redact, secret_values
from .streams import Writer, colours_wanted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ..configs.settings import Loaded

State = Literal["ok", "note", "wrong"]

_MARKS: dict[State, tuple[str, str]] = {"ok": ("ok", "32"), "note": ("note", "33"), "wrong": ("WRONG", "31")}
_LOW_BYTES = 1_000_000_000
_EMPTY_BYTES = 50_000_000
_LIBRARIES = ("langgraph", "litellm", "huggingface_hub")
_TIMEOUT_S = 5.0


class Finding(NamedTuple):
    """One line of the report."""

    name: str
    state: State
    text: str


def doctor(environ: Mapping[str, str], *, online: bool, output: Literal["text", "json"]) -> int:
    """Print the report; returns 1 when something is wrong, else 0.

    Args:
        environ: Environment of the process.
        online: Also try to reach the endpoints in use, for five seconds each at most.
        output: How to print.
    """
    secrets = secret_values(environ)
    findings = [
        finding._replace(text=redact(finding.text, secrets)) for finding in _examine(environ, online=online)
    ]
    healthy = all(finding.state != "wrong" for finding in findings)
    out = Writer(sys.stdout)
    if output == "json":
        rows = [finding._asdict() for finding in findings]
        out.write(json.dumps({"healthy": healthy, "findings": rows}, indent=2) + "\n")
        return 0 if healthy else 1
    colours = colours_wanted(sys.stdout, environ)
    width = max(len(finding.name) for finding in findings)
    for name, state, text in findings:
        mark, colour = _MARKS[state]
        shown = f"\x1b[{colour}m{mark:<5}\x1b[0m" if colours else f"{mark:<5}"
        out.write(f"{shown}  {name:<{width}}  {text}\n")
    return 0 if healthy else 1


def _examine(environ: Mapping[str, str], *, online: bool) -> Iterator[Finding]:
    yield Finding("version", "ok", _versions())
    yield _python()
    home = ml_intern_home(environ)
    yield from _home(home)
    yield _disk(home)
    yield from _database(home)
    yield _locks(home)
    try:
        loaded = load_settings(environ=environ, cwd=Path.cwd())
    except UserError as error:
        yield Finding("settings", "wrong", str(error))
        return
    yield from _settings(loaded)
    yield _keys(loaded)
    model = _model(loaded)
    yield model
    if online:
        yield from _endpoints(loaded)


def _versions() -> str:
    libraries = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    return f"ml-intern {version('ml-intern')} ({libraries})"


def _python() -> Finding:
    return Finding("python", "ok", f"{platform.python_version()} at {sys.executable}, {platform.platform()}")


def _home(home: Path) -> Iterator[Finding]:
    """Whether ML_INTERN_HOME is ours alone and can be written."""
    if not home.exists():
        above = next(folder for folder in home.parents if folder.exists())
        if os.access(above, os.W_OK | os.X_OK):
            yield Finding("home", "ok", f"{home} (not there yet; the first run makes it)")
        else:
            yield Finding(
                "home", "wrong", f"{home} cannot be made: {above} is not writable; set ML_INTERN_HOME"
            )
        return
    if not home.is_dir():
        yield Finding("home", "wrong", f"{home} is no directory; set ML_INTERN_HOME to one")
        return
    if not os.access(home, os.R_OK | os.W_OK | os.X_OK):
        yield Finding(
            "home", "wrong", f"{home} cannot be written; check its owner and mode, or set ML_INTERN_HOME"
        )
        return
    open_files = [path.name for path in (home, *home.glob(f"{DATABASE_NAME}*")) if _is_open_to_others(path)]
    if open_files:
        names = ", ".join(open_files)
        remedy = f"chmod -R go= {home}"
        yield Finding("home", "wrong", f"{home}: other users may look into {names}; run `{remedy}`")
        return
    yield Finding("home", "ok", f"{home} (yours alone)")


def _is_open_to_others(path: Path) -> bool:
    return bool(stat.S_IMODE(path.stat().st_mode) & 0o077)


def _disk(home: Path) -> Finding:
    there = next(folder for folder in (home, *home.parents) if folder.exists())
    free = shutil.disk_usage(there).free
    state: State = "wrong" if free < _EMPTY_BYTES else "note" if free < _LOW_BYTES else "ok"
    return Finding("disk", state, f"{_size(free)} free where the home directory is")


def _database(home: Path) -> Iterator[Finding]:
    try:
        found = check_database(home)
    except OSError as error:
        yield Finding("database", "wrong", f"{home / DATABASE_NAME}: {error.strerror or error}")
        return
    if found is None:
        yield Finding("database", "ok", "none yet; the first run makes it")
        return
    if found.problem:
        yield Finding("database", "wrong", f"{home / DATABASE_NAME}: {found.problem}")
        return
    log = f" and {_size(found.log_bytes)} not merged yet" if found.log_bytes else ""
    migrated = "; the next run brings it up to date" if found.is_older else ""
    size = f"{found.thread_count} threads in {_size(found.size_bytes)}{log}"
    yield Finding("database", "ok", f"{size}, schema {found.schema_version}{migrated}")
    if found.orphans:
        rows = ", ".join(f"{count:,} in {table}" for table, count in found.orphans.items())
        yield Finding(
            "orphans", "note", f"rows that belong to no thread: {rows}; harmless, they only take space"
        )


def _locks(home: Path) -> Finding:
    names = sorted(path.stem for path in (home / "locks").glob("*.lock"))
    held = {name: holder for name in names if (holder := _holder(home, name))}
    if not held:
        return Finding("locks", "ok", "no thread is open")
    return Finding("locks", "ok", "; ".join(f"{name} is open in {holder}" for name, holder in held.items()))


def _holder(home: Path, thread_id: str) -> str | None:
    try:
        return lease.holder(home, thread_id)
    except OSError as error:
        return f"an unknown process ({error.strerror})"


def _settings(loaded: Loaded) -> Iterator[Finding]:
    yield Finding("settings", "ok", ", ".join(str(path) for path in loaded.files))
    for line in loaded.warnings:
        yield Finding("settings", "note", line)
    for key in loaded.ineffective:
        yield Finding(
            "settings", "note", f"{key} (set by {loaded.origin[key]}) has no effect: {INEFFECTIVE[key]}"
        )


def _keys(loaded: Loaded) -> Finding:
    """Which keys there are, never their values."""
    names = [*(name for variables in PROVIDER_KEYS.values() for name in variables), "GITHUB_TOKEN"]
    present = [name for name in dict.fromkeys(names) if loaded.env.get(name, "").strip()]
    if present:
        return Finding("keys", "ok", ", ".join(present))
    defaults = ", ".join(packaged_models()["defaults"])
    return Finding(
        "keys", "note", f"none is set; hosted models need one of {defaults} or their provider's own"
    )


def _model(loaded: Loaded) -> Finding:
    try:
        model_id = choose_model(loaded.settings, loaded.env)
    except UserError as error:
        return Finding("model", "note", str(error))
    try:
        route = resolve(model_id, model_settings(loaded.settings, loaded.env))
    except UserError as error:
        return Finding("model", "wrong", str(error))
    return Finding("model", "ok", f"{model_id} at {route.origin}")


def _endpoints(loaded: Loaded) -> Iterator[Finding]:
    """Any answer counts as reachable; no credential is sent."""
    import httpx  # noqa: PLC0415 - 70 ms, for --online alone

    urls = {"Hugging Face Hub": loaded.env.get("HF_ENDPOINT") or "https://huggingface.co"}
    try:
        model_id = choose_model(loaded.settings, loaded.env)
        route = resolve(model_id, model_settings(loaded.settings, loaded.env))
        if route.api_base:
            urls[f"endpoint of {model_id}"] = route.api_base
    except UserError:
        pass  # said already
    for name, url in urls.items():
        try:
            status = httpx.get(url, timeout=_TIMEOUT_S, follow_redirects=False).status_code
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            yield Finding("online", "wrong", f"{name}: {url} cannot be reached ({type(error).__name__})")
        else:
            yield Finding("online", "ok", f"{name}: {url} answers (status {status})")


def _size(count: float) -> str:
    for unit in ("bytes", "KB", "MB"):
        if count < 1000:  # noqa: PLR2004 - the next unit
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:,.1f} GB"
