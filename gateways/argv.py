"""The grammar of the command line: turn what a person types into what Typer can parse.

Typer has no optional option values and takes any word for a command's name. So everything that is not a
command becomes a call of the hidden command `run`, with every option spelled out: `["run", "--model=X",
"--resume=", "--", "the prompt"]`. An empty `--resume=` means that no ID was given.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from ..errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

RUN = "run"
"""Name of the hidden command; typed by a person it is a prompt like any other word."""

RESUME = "--resume"
"""The one option whose value may be left out."""

VALUE_OPTIONS: Mapping[str, str] = MappingProxyType(
    {
        "-m": "--model",
        "--model": "--model",
        "--max-iterations": "--max-iterations",
        "-t": "--thread",
        "--thread": "--thread",
        "-o": "--output",
        "--output": "--output",
        "--approve": "--approve",
        "--input": "--input",
        "--max-cost": "--max-cost",
        "--cwd": "--cwd",
        "--config": "--config",
    }
)
"""Spelling -> long form of the options of a run that take a value."""

FLAGS: Mapping[str, str] = MappingProxyType(
    {
        "-c": "--continue",
        "--continue": "--continue",
        "--no-stream": "--no-stream",
        "--quiet": "--quiet",
        "--verbose": "--verbose",
        "--version": "--version",
        "--help": "--help",
    }
)
"""Spelling -> long form of the options of a run that take none."""

_RESUME_SPELLINGS = ("-r", RESUME)
_CHOOSE_THREAD = ("--thread", "--continue", RESUME)
_ANSWER_ALONE = ("--help", "--version")


@dataclass(slots=True)
class _Line:
    """What was read so far."""

    options: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)

    def names(self) -> list[str]:
        return [option.partition("=")[0] for option in self.options]


def rewrite(
    argv: list[str],
    commands: Collection[str],
    value_options: Mapping[str, str] = VALUE_OPTIONS,
    flags: Mapping[str, str] = FLAGS,
) -> list[str]:
    """Arguments for Typer: of a command as typed, of everything else as a call of `run`.

    Options before a command's name move behind its own arguments, so that the command accepts or refuses
    them. `--help` and `--version` without a command stand alone.

    Args:
        argv: arguments without the program's name.
        commands: names of the commands there are.
        value_options: spelling -> long form of the options of a run that take a value.
        flags: the same for those that take none.

    Raises:
        UsageError: unknown option, missing or superfluous value, empty prompt, a second prompt word, more
            than one option that chooses the thread.
    """
    line = _Line()
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if word == "--":
            line.words += rest
            break
        if word == "-" or not word.startswith("-"):
            if not line.words and word in commands:
                return _command(word, rest, line.options)
            line.words.append(word)
        elif word.startswith("--"):
            _long(word, rest, line, value_options, flags)
        else:
            _short(word, rest, line, value_options, flags)
    return _run(line)


def _command(name: str, rest: list[str], options: list[str]) -> list[str]:
    cut = rest.index("--") if "--" in rest else len(rest)
    return [name, *rest[:cut], *options, *rest[cut:]]


def _run(line: _Line) -> list[str]:
    names = line.names()
    for alone in _ANSWER_ALONE:
        if alone in names:
            return [alone]
    chosen = [name for name in _CHOOSE_THREAD if name in names]
    if len(chosen) > 1:
        raise UsageError(f"{' and '.join(chosen)} both choose the thread; give one of them.")
    if len(line.words) > 1:
        raise UsageError(f"A second prompt word, {line.words[1]!r}: quote the prompt.")
    if line.words and not line.words[0].strip():
        raise UsageError("The prompt is empty.")
    return [RUN, *line.options, *(["--", *line.words] if line.words else [])]


def _long(
    word: str, rest: list[str], line: _Line, value_options: Mapping[str, str], flags: Mapping[str, str]
) -> None:
    name, equals, value = word.partition("=")
    if name == RESUME:
        line.options.append(f"{RESUME}={value if equals else _optional_value(rest)}")
    elif name in value_options:
        value = value if equals else _next_value(name, rest, value_options, flags)
        line.options.append(_with_value(name, value, value_options))
    elif name in flags:
        if equals:
            raise UsageError(f"{name} takes no value.")
        line.options.append(flags[name])
    else:
        _refuse(name, value_options, flags)


def _short(
    word: str, rest: list[str], line: _Line, value_options: Mapping[str, str], flags: Mapping[str, str]
) -> None:
    """Read `-m X`, `-mX`, `-m=X`, and several letters in one word as far as they take no value."""
    for index, letter in enumerate(word[1:], start=2):
        name, attached = f"-{letter}", word[index:].removeprefix("=")
        if name in flags:
            line.options.append(flags[name])
            continue
        if name in _RESUME_SPELLINGS:
            line.options.append(f"{RESUME}={attached or _optional_value(rest)}")
        elif name in value_options:
            value = attached or _next_value(name, rest, value_options, flags)
            line.options.append(_with_value(name, value, value_options))
        else:
            _refuse(name if index == 2 else f"{name} in {word}", value_options, flags)  # noqa: PLR2004 - first
        return


def _optional_value(rest: list[str]) -> str:
    return rest.pop(0) if rest and rest[0] and not rest[0].startswith("-") else ""


def _next_value(
    name: str, rest: list[str], value_options: Mapping[str, str], flags: Mapping[str, str]
) -> str:
    """Take the next word, also `-1`, unless it is itself an option: then the value was forgotten."""
    taken = {*value_options, *flags, *_RESUME_SPELLINGS, "--"}
    if not rest or rest[0].partition("=")[0] in taken:
        raise UsageError(f"{name} needs a value.")
    return rest.pop(0)


def _with_value(name: str, value: str, value_options: Mapping[str, str]) -> str:
    if not value:
        raise UsageError(f"{name} needs a value, not an empty one.")
    return f"{value_options[name]}={value}"


def _refuse(name: str, value_options: Mapping[str, str], flags: Mapping[str, str]) -> None:
    import difflib  # noqa: PLC0415 - needed for a mistake only

    known = [*value_options, *flags, *_RESUME_SPELLINGS]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    hint = (
        f"did you mean {near[0]}?"
        if near
        else "see ml-intern --help; a prompt that begins with - goes after --"
    )
    raise UsageError(f"No option {name}; {hint}")
