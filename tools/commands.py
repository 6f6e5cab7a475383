"""A shell command taken apart: the simple commands in it, their words, pipes and redirections.

Not a shell: it knows just enough of the grammar that rules about commands cannot be fooled by quotes,
chains, subshells or substitutions. What it does not understand it refuses (`Unparsable`).
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field

MAX_DEPTH = 8

_OPERATORS = ("&&", "||", ";;", "|&", "&", ";", "|", "(", ")", "\n")
_REDIRECT = re.compile(r"(\d*)(&>>|&>|<<<|<<-|<<|<>|<&|>>|>&|>\||>|<)")
_HEREDOC = re.compile(r"<<-?[ \t]*(['\"]?)([\w.-]+)\1")
_KEYWORDS = frozenset(
    {"if", "then", "elif", "else", "fi", "while", "until", "do", "done", "for", "case", "esac", "{", "}", "!"}
)
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*(\[[^]]*\])?\+?=")


class Unparsable(ValueError):
    """The command is not understood; the text says where."""


@dataclass(slots=True)
class Word:
    """One word after the removal of quotes."""

    text: str
    quoted: bool = False
    """Some of it was in quotes, so it is no keyword or operator."""
    expands: bool = False
    """It holds a variable, substitution or glob, so the shell may make it something else."""
    inner: list[Command] = field(default_factory=list)
    """Commands in its substitutions."""


@dataclass(slots=True)
class Redirect:
    """One redirection: operator and target."""

    operator: str
    target: Word


@dataclass(slots=True)
class Command:
    """One simple command."""

    words: list[Word] = field(default_factory=list)
    redirects: list[Redirect] = field(default_factory=list)
    assignments: list[Word] = field(default_factory=list)
    keyword: bool = False
    """It stands behind a keyword of the shell (`if`, `for`, ...), or beside a subshell or a function."""
    background: bool = False
    piped: bool = False
    """It reads from the command before it in the list."""
    here: str = ""
    """Text of its here-documents."""

    def text(self) -> str:
        """Its words, quoted where needed, separated by one space."""
        return shlex.join(word.text for word in self.words)

    def inner(self) -> list[Command]:
        """Commands in its substitutions."""
        places = (*self.words, *self.assignments, *(redirect.target for redirect in self.redirects))
        return [command for word in places for command in word.inner]


def parse(command: str, depth: int = 0) -> list[Command]:
    """The simple commands of a shell command in the order they are written.

    Raises:
        Unparsable: unbalanced quotes or brackets, or nested too deeply.
    """
    if depth > MAX_DEPTH:
        raise Unparsable("nested too deeply")
    return _Parser(command.replace("\\\n", ""), depth).commands()


class _Parser:
    def __init__(self, text: str, depth: int) -> None:
        self._text, self._depth, self._at = text, depth, 0
        self._done: list[Command] = []
        self._now = Command()
        self._here: list[tuple[Command, str, bool]] = []
        self._brackets = 0
        self._has_brackets = False

    def commands(self) -> list[Command]:
        while self._at < len(self._text):
            self._step()
        if self._brackets or self._here:
            raise Unparsable("a bracket or here-document is not closed")
        self._end()
        for command in self._done:
            command.keyword = command.keyword or self._has_brackets
        return self._done

    def _step(self) -> None:
        rest = self._text[self._at]
        if rest in " \t\r":
            self._at += 1
        elif rest == "#":
            end = self._text.find("\n", self._at)
            self._at = len(self._text) if end < 0 else end
        elif (redirect := _REDIRECT.match(self._text, self._at)) and not self._is_process_substitution():
            self._redirect(redirect)
        elif operator := next((op for op in _OPERATORS if self._text.startswith(op, self._at)), None):
            self._at += len(operator)
            self._operator(operator)
        else:
            self._add(self._word())

    def _is_process_substitution(self) -> bool:
        return self._text[self._at : self._at + 2] in {"<(", ">("}

    def _operator(self, operator: str) -> None:
        if operator in "()":
            self._has_brackets = True
            # A pattern of `case` has a closing bracket only.
            self._brackets = max(0, self._brackets + (1 if operator == "(" else -1))
        if operator == "&":
            self._now.background = True
        self._end(piped=operator in {"|", "|&"})
        if operator == "\n":
            self._skip_here_documents()

    def _end(self, piped: bool = False) -> None:
        now = self._now
        if now.words or now.redirects or now.assignments:
            self._done.append(now)
        self._now = Command(piped=piped)

    def _add(self, word: Word) -> None:
        now = self._now
        if not now.words and not word.quoted and word.text in _KEYWORDS:
            now.keyword = True
        elif not now.words and _ASSIGNMENT.match(word.text):
            now.assignments.append(word)
        else:
            now.words.append(word)

    def _redirect(self, match: re.Match[str]) -> None:
        operator = match[2]
        self._at = match.end()
        while self._text[self._at : self._at + 1] in {" ", "\t"}:
            self._at += 1
        if self._at >= len(self._text) or self._text[self._at] in "\n;|&()":
            raise Unparsable(f"nothing behind {operator}")
        target = self._word()
        if operator in {"<<", "<<-"}:
            self._here.append((self._now, target.text, operator == "<<-"))
        elif operator == "<<<":
            self._now.here += target.text
        self._now.redirects.append(Redirect(operator, target))

    def _skip_here_documents(self) -> None:
        for command, delimiter, tabs in self._here:
            lines = []
            while True:
                if self._at >= len(self._text):
                    break
                line, _, _ = self._text[self._at :].partition("\n")
                self._at += len(line) + 1
                if (line.lstrip("\t") if tabs else line) == delimiter:
                    break
                lines.append(line)
            command.here += "\n".join(lines)
        self._here.clear()

    def _word(self) -> Word:
        word = Word("")
        while self._at < len(self._text):
            char = self._text[self._at]
            if char in " \t\r\n;&|()" or (char in "<>" and not self._is_process_substitution()):
                break
            self._piece(word, char)
        return word

    def _piece(self, word: Word, char: str) -> None:
        if char == "'":
            word.text += self._until("'")
            word.quoted = True
        elif char == '"':
            self._double_quoted(word)
        elif char == "\\":
            word.text += self._text[self._at + 1 : self._at + 2]
            word.quoted = True
            self._at += 2
        elif char == "$":
            self._dollar(word, in_quotes=False)
        elif char == "`":
            self._substitute(word, self._until("`").replace("\\`", "`"))
        elif char in "<>":
            self._at += 1
            self._substitute(word, self._bracketed())
        else:
            word.expands = word.expands or char in "*?[{"
            word.text += char
            self._at += 1

    def _until(self, mark: str) -> str:
        end = self._text.find(mark, self._at + 1)
        while mark == "`" and end > 0 and self._text[end - 1] == "\\":
            end = self._text.find(mark, end + 1)
        if end < 0:
            raise Unparsable(f"{mark} is not closed")
        inside = self._text[self._at + 1 : end]
        self._at = end + 1
        return inside

    def _double_quoted(self, word: Word) -> None:
        word.quoted = True
        self._at += 1
        while self._at < len(self._text):
            char = self._text[self._at]
            if char == '"':
                self._at += 1
                return
            if char == "\\" and self._text[self._at + 1 : self._at + 2] in {'"', "\\", "$", "`"}:
                word.text += self._text[self._at + 1]
                self._at += 2
            elif char == "$":
                self._dollar(word, in_quotes=True)
            elif char == "`":
                self._substitute(word, self._until("`").replace("\\`", "`"))
            else:
                word.text += char
                self._at += 1
        raise Unparsable('" is not closed')

    def _dollar(self, word: Word, in_quotes: bool) -> None:
        following = self._text[self._at + 1 : self._at + 2]
        if following == "(":
            self._at += 1
            self._substitute(word, self._bracketed())
        elif following == "'" and not in_quotes:
            self._at += 1
            # Its escapes may spell anything.
            word.text += self._until("'")
            word.quoted = word.expands = True
        else:
            word.expands = (
                word.expands or following.isalnum() or following in {"{", "_", "@", "*", "?", "!", "$", "#"}
            )
            word.text += "$"
            self._at += 1

    def _substitute(self, word: Word, inside: str) -> None:
        word.expands = True
        word.text += "$(...)"
        if not inside.startswith("("):  # $((...)) is arithmetic
            word.inner += parse(inside, self._depth + 1)

    def _bracketed(self) -> str:
        """Text between the bracket here and its partner; brackets in quotes do not count."""
        start = self._at + 1
        depth = 0
        here: list[str] = []
        while self._at < len(self._text):
            char = self._text[self._at]
            if char == "'":
                self._until("'")
            elif char == '"':
                self._double_quoted(Word(""))
            elif heredoc := _HEREDOC.match(self._text, self._at):
                here.append(heredoc[2])
                self._at = heredoc.end()
            elif char == "\n" and here:
                self._skip_lines_until(here.pop(0))
            else:
                self._at += 2 if char == "\\" else 1
                depth += (char == "(") - (char == ")")
                if depth == 0:
                    return self._text[start : self._at - 1]
        raise Unparsable("a bracket is not closed")

    def _skip_lines_until(self, delimiter: str) -> None:
        """Pass over the text of a here-document, whose quotes and brackets mean nothing."""
        match = re.compile(rf"\n[\t]*{re.escape(delimiter)}(?=\n|$)").search(self._text, self._at)
        if not match:
            raise Unparsable("a here-document is not closed")
        self._at = match.end()
