"""Every error this project raises on purpose, by who must act.

    MlInternError
    ├── UserError          the person: one line that names the value and the remedy, exit code 1
    │   ├── UsageError     the command line is wrong, exit code 2
    │   ├── ThreadHeld     another process has the thread open
    │   └── TakenOver      another process took the thread over while this one slept
    ├── ToolError          the model: becomes the tool's result
    └── ModelError         the provider: ends the turn after retries, with the remedy for the person
        └── ContextOverflow    the request is larger than the model's window

A limit of the run (iterations, USD) is no error but a stop reason in the state. Anything else that is
raised is a bug.
"""

from __future__ import annotations


class MlInternError(Exception):
    """Base of all errors raised on purpose."""


class UserError(MlInternError):
    """Something only the person can put right; its text is one line with the remedy."""

    exit_code = 1


class UsageError(UserError):
    """The command line cannot be understood."""

    exit_code = 2


class ThreadHeld(UserError):
    """The thread is open in another process, which the text names."""


class TakenOver(UserError):
    """A newer run owns the thread, so this one must not write any more."""


class ToolError(MlInternError):
    """A tool could not do what the model asked; the text is what the model reads."""


class ModelError(MlInternError):
    """A model call failed for good; the text is one line for the person, with the remedy."""


class ContextOverflow(ModelError):
    """The provider refused a request as too long."""

    def __init__(self, message: str, limit_tokens: int | None = None) -> None:
        super().__init__(message)
        self.limit_tokens = limit_tokens
        """The window the provider named in its refusal, in tokens; None when it named none."""
