"""Which shell commands only look: those may run again, and beside each other.

Conservative: every simple command must be known, with options known to be harmless; anything that could
write, start or expand into something else makes the answer no.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .commands import Unparsable, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .commands import Command

_HARMLESS = frozenset(
    {":", "[", "arch", "basename", "cat", "cksum", "cmp", "comm", "cut", "df", "diff", "dirname", "du"}
    | {"echo", "expr", "false", "file", "fold", "free", "getconf", "grep", "egrep", "fgrep", "groups"}
    | {"head", "hexdump", "hostid", "id", "join", "jq", "ls", "lsblk", "lscpu", "lsof", "md5sum", "nl"}
    | {"nproc", "od", "paste", "pgrep", "printf", "printenv", "ps", "pwd", "readlink"}
    | {"realpath", "seq", "sha1sum", "sha256sum", "sha512sum", "sleep", "stat", "tac", "tail", "test", "tr"}
    | {"true", "tty", "type", "uname", "uptime", "vmstat", "wc", "which", "whoami"}
)
"""Commands that write nothing, whatever their arguments (exceptions below)."""

_WRITING: dict[str, re.Pattern[str]] = {
    "file": re.compile(r"-C|--compile"),
    "printf": re.compile(r"-v"),
    "jq": re.compile(r"--in-place"),
    "diff": re.compile(r"--output"),
}
"""Words that make a harmless command write after all."""

_GIT = frozenset(
    {"blame", "cat-file", "describe", "diff", "grep", "log", "ls-files", "ls-tree", "merge-base"}
    | {"name-rev", "rev-list", "rev-parse", "shortlog", "show", "show-ref", "status"}
)
_GIT_WRITING = re.compile(r"--output|--ext-diff|--textconv|--exec|-O|--open-files-in-pager")
_FIND_ACTING = re.compile(r"-(exec|execdir|ok|okdir|delete|fprint|fprint0|fprintf|fls)$")
_RG_ACTING = re.compile(r"--(pre|hostname-bin|search-zip)(=|$)|-\w*z")
_SORT_ACTING = re.compile(r"-\w*o|--o|--comp|-T|--temp")
_DATE_SETTING = re.compile(r"-s|--set")
_NVIDIA_LOOKING = re.compile(
    r"-[qLldix]$|\d+$|[A-Z,]+$|topo$|-m$|dmon$|pmon$|-[cs]$|--(query(-[a-z-]+)?|format|id|list-gpus|loop|display)(=.*)?$"
)
_VERSION = re.compile(r"(--version|-V|-VV)$")


def is_read_only(command: str) -> bool:
    """Whether a shell command is known to change nothing."""
    try:
        commands = parse(command)
    except (Unparsable, RecursionError):
        return False
    return bool(commands) and all(_looks_only(simple) for simple in commands)


def _looks_only(command: Command) -> bool:
    if command.keyword or command.background or command.assignments or command.here or not command.words:
        return False
    if any(not _harmless_redirect(redirect.operator, redirect.target.text) for redirect in command.redirects):
        return False
    if command.inner() or command.words[0].expands:
        return False
    name, *words = (word.text for word in command.words)
    # A glob or variable could expand into an option that acts: only commands without any take them.
    if any(word.expands for word in command.words) and (name not in _HARMLESS or name in _WRITING):
        return False
    if name in _CHECKS:
        return _CHECKS[name](words)
    if name not in _HARMLESS:
        return _is_version_query(name, words)
    acting = _WRITING.get(name)
    return not (acting and any(acting.search(word) for word in words))


def _harmless_redirect(operator: str, target: str) -> bool:
    if operator == "<":
        return not target.startswith("/dev/")
    if operator == ">&":
        return target.isdecimal()
    return operator in {">", ">>", "&>", "&>>"} and target == "/dev/null"


def _is_version_query(name: str, words: Sequence[str]) -> bool:
    known = re.fullmatch(
        r"(python|pip)[\d.]*|uv|node|npm|gcc|g\+\+|make|cmake|nvcc|git|conda|rustc|cargo|go|java", name
    )
    return bool(known) and len(words) == 1 and bool(_VERSION.match(words[0]))


def _git(words: Sequence[str]) -> bool:
    rest = list(words)
    while rest and rest[0] in {"-C", "--no-pager", "-P"}:
        rest = rest[2:] if rest[0] == "-C" else rest[1:]
    if not rest:
        return False
    if rest == ["--version"] or rest in (["branch"], ["branch", "-a"], ["branch", "--show-current"]):
        return True
    if rest in (["remote"], ["remote", "-v"], ["stash", "list"], ["tag"], ["config", "--list"]):
        return True
    return rest[0] in _GIT and not any(_GIT_WRITING.match(word) for word in rest[1:])


def _without(acting: re.Pattern[str]) -> Callable[[Sequence[str]], bool]:
    return lambda words: not any(acting.match(word) for word in words)


_CHECKS: dict[str, Callable[[Sequence[str]], bool]] = {
    "git": _git,
    "find": _without(_FIND_ACTING),
    "rg": _without(_RG_ACTING),
    "sort": _without(_SORT_ACTING),
    "uniq": lambda words: sum(not word.startswith("-") for word in words) <= 1,
    "date": lambda words: not any(_DATE_SETTING.match(word) or word[:1].isdigit() for word in words),
    "nvidia-smi": lambda words: all(_NVIDIA_LOOKING.match(word) for word in words),
    "hostname": lambda words: not words or words == ["-f"],
    "env": lambda words: not words,
    "cd": lambda words: len(words) <= 1,
    "tree": lambda words: not any(word.startswith(("-o", "-R")) for word in words),
    "pip": lambda words: words[:1] in (["list"], ["show"], ["freeze"], ["--version"]),
    "command": lambda words: words[:1] in (["-v"], ["-V"]),
}
