"""`ml-intern login`: check a Hugging Face token and store it where all Hugging Face tools find it."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..configs.env_file import effective_environment
from ..configs.settings import load_settings
from ..errors import UserError
from .streams import Writer, is_terminal

if TYPE_CHECKING:
    from collections.abc import Mapping

CHECK_TIMEOUT_S = 15.0
"""Longest wait for the Hub, the import of its library included."""

_WHERE = "https://huggingface.co/settings/tokens"


def ask_and_store(environ: Mapping[str, str]) -> None:
    """Ask for a token, check it, store it.

    Raises:
        UserError: No token was given, the Hub refused it, or the Hub did not answer.
        KeyboardInterrupt: The person left.
    """
    loaded = load_settings(environ=environ, cwd=Path.cwd())
    if not loaded.is_trusted_host("HF_ENDPOINT"):
        raise UserError("HF_ENDPOINT was not set by you, so no token goes there; set it in the environment.")
    token = _read_token()
    name = store_token(token, endpoint=loaded.env.get("HF_ENDPOINT"))
    out = Writer(sys.stdout)
    out.write(f"Logged in as {name}.\n")
    if effective_environment(environ, Path.cwd()).values.get("HF_TOKEN", "").strip() != token:
        Writer(sys.stderr).write(
            "Note: HF_TOKEN is set to another token, which goes before the stored one.\n"
        )


def store_token(token: str, *, endpoint: str | None = None, timeout_s: float = CHECK_TIMEOUT_S) -> str:
    """Check a token with the Hub and store it; returns the account's name.

    Args:
        token: What the person gave; never shown or logged.
        endpoint: The Hub; None: the public one.
        timeout_s: Seconds after which the Hub counts as silent.

    Raises:
        UserError: The Hub refused the token or did not answer, or it could not be stored.
    """
    if any(character.isspace() or not character.isprintable() for character in token) or not token.isascii():
        raise UserError(f"That is no token: it holds blanks or other characters no token has. See {_WHERE}.")
    given: list[str | BaseException] = []
    left = threading.Event()
    # A thread, because a silent network can hold the library far longer than anybody waits.
    thread = threading.Thread(target=_check, args=(token, endpoint, given, left), daemon=True)
    thread.start()
    thread.join(timeout_s)
    hub = endpoint or "https://huggingface.co"
    if not given:
        left.set()
        raise UserError(f"{hub} did not answer within {timeout_s:.0f} s; nothing was stored.")
    outcome = given[0]
    if isinstance(outcome, str):
        return outcome
    if isinstance(outcome, (OSError, ValueError)) or type(outcome).__module__.startswith("http"):
        raise UserError(_reason(outcome, hub)) from None
    raise outcome


def _check(token: str, endpoint: str | None, given: list[str | BaseException], left: threading.Event) -> None:
    """Check in this thread, and store unless the caller has `left`.

    `given` gets the account's name or what went wrong.
    """
    try:
        if endpoint:
            os.environ["HF_ENDPOINT"] = endpoint  # read when the library is imported
        os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
        import logging  # noqa: PLC0415 - beside the library it quiets

        from huggingface_hub import HfApi, constants, login  # noqa: PLC0415 - a second, for this command alone

        logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)
        if endpoint and constants.ENDPOINT.rstrip("/") != endpoint.rstrip("/"):
            # Storing asks the Hub the library was loaded for, which must not get this token.
            raise UserError("The Hub was changed while this process ran; use `ml-intern login` instead.")
        account: dict[str, Any] = HfApi(endpoint=endpoint).whoami(token)
        if left.is_set():
            return
        login(token=token, add_to_git_credential=False)
        given.append(str(account.get("name") or "somebody the Hub does not name"))
    except Exception as error:  # noqa: BLE001 - boundary of the thread: whoever waits gets it
        given.append(error)


def _reason(error: BaseException, hub: str) -> str:
    """One line without the token."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return f"{hub} refused this token; make one at {_WHERE}. Nothing was stored."
    if status is not None:
        return f"{hub} answered with status {status}; nothing was stored."
    if isinstance(error, ValueError):
        return (
            f"{hub} takes this token for no personal access token; make one at {_WHERE}. Nothing was stored."
        )
    if isinstance(error, OSError) and error.filename:
        return f"The token is valid but could not be stored in {error.filename}: {error.strerror}."
    return f"{hub} cannot be reached ({type(error).__name__}); nothing was stored."


def _read_token() -> str:
    """The token from the terminal, unseen, or from the first line of standard input."""
    if is_terminal(sys.stdin):
        import getpass  # noqa: PLC0415 - for terminals only

        try:
            token = getpass.getpass(f"Hugging Face token ({_WHERE}), not shown: ", stream=sys.stderr)
        except EOFError:
            token = ""
    else:
        token = sys.stdin.readline()
    token = token.strip()
    if not token:
        raise UserError("No token was given; nothing was changed.")
    return token
