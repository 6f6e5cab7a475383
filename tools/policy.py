"""What the model may do without asking: a table of rules, and the function that reads it.

Rules are data (`configs/policy.json`). `deny` beats `ask`, `ask` beats `allow`; no rule at all means allow.
A shell command is taken apart first, and every rule looks at each simple command in it, also behind
`sudo`, `env`, `xargs`, `bash -c`, in pipes, subshells and substitutions. It guards against accidents and
careless commands, not against a program written to evade it.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from ..errors import UserError
from .commands import Command, Unparsable, parse
from .process_files import holds_environment, is_environment, names_environment

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Action = Literal["deny", "ask", "allow"]
Where = Literal["outside", "protected", "secret", "root_or_home", "environment"]

PACKAGED = Path(__file__).parent.parent / "configs" / "policy.json"

_ORDER: tuple[Action, ...] = ("deny", "ask", "allow")
_KEYS = frozenset({"name", "action", "tool", "match", "unless", "where", "reason"})
_WRAPPERS = frozenset(
    {
        "sudo",
        "doas",
        "env",
        "nohup",
        "time",
        "timeout",
        "xargs",
        "exec",
        "command",
        "builtin",
        "nice",
        "ionice",
    }
    | {"stdbuf", "setsid", "find", "parallel", "chroot", "watch", "strace"}
)
_SEARCHES = frozenset({"grep", "egrep", "fgrep", "rg", "ag", "ack"})
_SHELLS = frozenset({"sh", "bash", "zsh", "dash", "ksh", "fish", "eval", "source", "."})
_SECRET = re.compile(
    r"(^|/)(\.env(\.(?!example$|sample$|template$|dist$)[\w-]+)?|\.netrc|\.pypirc|\.git-credentials|credentials\.json"
    r"|id_(rsa|dsa|ecdsa|ed25519)|[^/]*key[^/]*\.pem)$|(^|/)\.ssh/(?!config$|known_hosts$|[^/]+\.pub$)[^/]+$"
    r"|(^|/)\.aws/credentials$|(^|/)\.cache/huggingface/(token|stored_tokens)$"
)
_DEVICE = re.compile(r"/dev/(sd|hd|vd|xvd|nvme|mmcblk|disk|dm-|mapper/)")
_MAX_DEPTH = 6
_SCRATCH = "scratch"
"""Directory in `ML_INTERN_HOME` for threads that work on a copy, or on nothing of the person's."""
_PROTECTED = (".ssh", ".aws", ".gnupg", ".config/gcloud", ".azure", ".kube", ".docker/config.json", ".netrc",
              ".cache/huggingface/token", ".cache/huggingface/stored_tokens")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the table."""

    name: str
    action: Action
    tool: str
    """Name of the tool, `*` and `?` as in file names."""
    reason: str
    match: tuple[tuple[str, re.Pattern[str]], ...] = ()
    """Arguments and what must be found in each; an absent argument counts as empty text."""
    unless: tuple[tuple[str, re.Pattern[str]], ...] = ()
    """The rule is void when all of these are found."""
    where: Where | None = None
    """What the paths of the call must be, besides."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer for one call."""

    action: Action
    rule: str
    """Name of the rule that decided; empty when none did."""
    reason: str


def rules_of(data: Iterable[Mapping[str, Any]], source: str) -> tuple[Rule, ...]:
    """Rules from their JSON form.

    Args:
        data: objects with `action`, `tool`, and optionally `name`, `match`, `unless`, `where`, `reason`.
        source: where they stand, for the error text.

    Raises:
        UserError: a rule is not understood.
    """
    return tuple(_rule(row, f"{source}, rule {number}") for number, row in enumerate(data, 1))


def _rule(row: Mapping[str, Any], place: str) -> Rule:
    unknown = set(row) - _KEYS
    if unknown:
        raise UserError(f"{place}: unknown key {sorted(unknown)[0]!r}; known are {', '.join(sorted(_KEYS))}.")
    if row.get("action") not in _ORDER:
        raise UserError(f"{place}: action is {row.get('action')!r}; it must be deny, ask or allow.")
    if row.get("where") not in (None, *get_args(Where)):
        raise UserError(
            f"{place}: where is {row.get('where')!r}; it must be one of {', '.join(get_args(Where))}."
        )
    tool = row.get("tool")
    if not isinstance(tool, str) or not tool:
        raise UserError(f"{place}: tool must name a tool or a pattern of names.")
    return Rule(
        name=str(row.get("name") or place),
        action=row["action"],
        tool=tool,
        reason=str(row.get("reason") or f"rule of {place}"),
        match=_patterns(row.get("match"), place),
        unless=_patterns(row.get("unless"), place),
        where=row.get("where"),
    )


def _patterns(given: Any, place: str) -> tuple[tuple[str, re.Pattern[str]], ...]:
    if given is None:
        return ()
    if not isinstance(given, dict):
        raise UserError(f"{place}: match and unless map arguments to regular expressions.")
    try:
        return tuple((str(name), re.compile(str(pattern))) for name, pattern in given.items())
    except re.error as error:
        raise UserError(f"{place}: {error.pattern!r} is no regular expression: {error}.") from None


def packaged_rules() -> tuple[Rule, ...]:
    """The table that ships with the program."""
    return rules_of(json.loads(PACKAGED.read_text(encoding="utf-8"))["rules"], PACKAGED.name)


def evaluate(
    name: str,
    arguments: Mapping[str, Any],
    *,
    cwd: Path,
    home: Path,
    rules: Sequence[Rule] | None = None,
    state_dir: Path | None = None,
) -> Decision:
    """What the rules say about one call.

    Besides its arguments only the file system is asked, and only for what symbolic links point to.

    Args:
        name: the tool.
        arguments: its canonical arguments.
        cwd: the thread's directory.
        home: the person's home directory.
        rules: the table; by default the packaged one.
        state_dir: `ML_INTERN_HOME`, whose files are ours alone.
    """
    call = _Call(name, arguments, cwd, home, state_dir)
    table = packaged_rules() if rules is None else rules
    for action in _ORDER:
        if call.unparsable and action == "ask":
            return Decision("ask", "unparsable", f"the command is not understood ({call.unparsable})")
        for rule in table:
            if rule.action == action and fnmatchcase(name, rule.tool) and call.falls_under(rule):
                return Decision(action, rule.name, rule.reason)
    return Decision("allow", "", "no rule speaks against it")


@dataclass(frozen=True, slots=True)
class _View:
    """One thing a rule can look at: a file call, or one simple command or pipeline of a shell command."""

    command: str | None
    """Text of the command; None for tools that have none."""
    paths: Sequence[str]
    outputs: Sequence[str]
    """The paths that are written to."""
    cwd: Path


class _Call:
    """One call as the rules look at it."""

    def __init__(
        self, name: str, arguments: Mapping[str, Any], cwd: Path, home: Path, state_dir: Path | None
    ) -> None:
        self.unparsable = ""
        self._name, self._cwd, self._home, self._state_dir = name, cwd, home, state_dir
        self._texts = {key: _text(value) for key, value in arguments.items()}
        self._views: list[_View] = []
        if name != "bash":
            paths = [self._texts["path"]] if self._texts.get("path") else []
            self._views.append(_View(None, paths, paths, cwd))
            return
        self._cwd = self._cd(self._texts.get("work_dir") or ".")
        try:
            self._take(parse(self._texts.get("command", "")))
        except (Unparsable, RecursionError) as error:
            self.unparsable = str(error) or "nested too deeply"
            self._views = [_View(self._texts.get("command", ""), [], [], self._cwd)]

    def _cd(self, path: str) -> Path:
        return self._cwd / self._expand(path)

    def _take(self, commands: Sequence[Command], depth: int = 0) -> None:
        if depth > _MAX_DEPTH:
            raise Unparsable("nested too deeply")
        pipeline = ""
        for command in commands:
            pipeline = f"{pipeline} | {command.text()}" if command.piped else command.text()
            if command.piped:
                self._views.append(_View(pipeline, [], [], self._cwd))
            self._take_one(command, depth)
            inner = command.inner()
            self._views += [_View(f"{item.text()} | {command.text()}", [], [], self._cwd) for item in inner]
            self._take(inner, depth + 1)

    def _take_one(self, command: Command, depth: int) -> None:
        words = [word.text for word in command.words]
        inputs = [item.target.text for item in command.redirects if item.operator == "<"]
        outputs = [item.target.text for item in command.redirects if ">" in item.operator]
        # Behind a wrapper any word may be the start of the command that is really run.
        starts = range(len(words)) if words and _base(words[0]) in _WRAPPERS else range(1)
        for start in starts:
            part = [_base(words[start]), *words[start + 1 :]] if words else []
            written = [*outputs, *_written(part)]
            self._views.append(_View(shlex.join(part), [*part[1:], *inputs], written, self._cwd))
            self._take(_script(part, command.here), depth + 1)
        if words[:1] == ["cd"]:
            self._cwd = self._cd(words[1] if len(words) > 1 else "~")

    def falls_under(self, rule: Rule) -> bool:
        """Whether any part of the call does."""
        return any(self._view_falls_under(rule, view) for view in self._views)

    def _view_falls_under(self, rule: Rule, view: _View) -> bool:
        texts = self._texts if view.command is None else {**self._texts, "command": view.command}
        if not all(pattern.search(texts.get(key, "")) for key, pattern in rule.match):
            return False
        if rule.unless and all(pattern.search(texts.get(key, "")) for key, pattern in rule.unless):
            return False
        if rule.where is None:
            return True
        if rule.where == "environment":
            return self._reads_environment(view)
        paths = view.outputs if rule.where in {"outside", "protected"} else view.paths
        return any(self._is(path, rule.where, view.cwd) for path in paths)

    def _reads_environment(self, view: _View) -> bool:
        if view.command is not None and any(
            # As it was typed, and without the quotes of the shell.
            names_environment(text)
            for text in (self._texts.get("command", ""), view.command)
        ):
            return True
        searches = (self._name if view.command is None else view.command.partition(" ")[0]) in _SEARCHES
        for path in view.paths:
            written = os.path.normpath(view.cwd / self._expand(path.replace("\0", "")))
            forms = (written, os.path.realpath(written))
            if any(is_environment(form) or (searches and holds_environment(form)) for form in forms):
                return True
        return False

    def _expand(self, path: str) -> str:
        for mark in ("~", "$HOME", "${HOME}"):
            if path == mark or path.startswith(mark + "/"):
                return str(self._home) + path[len(mark) :]
        return path

    def _is(self, path: str, where: Where, cwd: Path) -> bool:
        if where == "root_or_home":
            # `rm -r ~/*` leaves as little as `rm -r ~`.
            path = path[:-1] or "." if path == "*" or path.endswith("/*") else path
        if "\0" in path or (path.startswith("-") and where != "outside"):
            return False
        written = os.path.normpath(cwd / self._expand(path))
        real = os.path.realpath(written)
        if where == "secret":
            return bool(_SECRET.search(written) or _SECRET.search(real))
        if where == "root_or_home":
            return _within(os.path.realpath(self._home), real)
        if where == "outside":
            return not _within(real, os.path.realpath(cwd))
        guarded = [self._home / name for name in _PROTECTED]
        return bool(_DEVICE.match(real)) or any(
            self._is_ours(form) or any(_within(form, os.path.realpath(area)) for area in guarded)
            for form in (written, real)
        )

    def _is_ours(self, path: str) -> bool:
        """Whether it lies in `ML_INTERN_HOME`, but for the directories there that threads work in."""
        if self._state_dir is None:
            return False
        area = os.path.realpath(self._state_dir)
        return _within(path, area) and not path.startswith(f"{area}/{_SCRATCH}/")


def _written(words: Sequence[str]) -> Sequence[str]:
    """Words of a command that name what it writes to."""
    named = [word for word in words[1:] if not word.startswith("-")]
    if words[:1] and words[0] in {"cp", "mv", "install", "ln", "rsync", "scp"}:
        return named[-1:]
    if words[:1] and words[0] in {"tee", "rm", "touch", "truncate", "chmod", "chown", "shred", "unlink"}:
        return named
    if words[:1] == ["dd"]:
        return [word[3:] for word in named if word.startswith("of=")]
    return []


def _script(words: list[str], here: str) -> list[Command]:
    """Commands that a shell is given as text."""
    if not words or words[0] not in _SHELLS:
        return []
    if words[0] == "eval":
        return parse(" ".join(words[1:]))
    for flag, script in pairwise(words):
        if re.fullmatch(r"-[a-z]*c", flag):
            return parse(script)
    return parse(here)


def _base(word: str) -> str:
    return word.rpartition("/")[2] or word


def _within(path: str, area: str) -> bool:
    return path == area or path.startswith(area.rstrip("/") + "/")


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)
