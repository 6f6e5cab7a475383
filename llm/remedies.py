"""One line for the person: what failed and what to do about it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..errors import ContextOverflow, ModelError

if TYPE_CHECKING:
    from .failures import Failure
    from .routes import Route

_DETAIL_CHARS = 300
_KEYS = re.compile(
    r"\b(?:sk|hf|gsk|xai|pplx|r8|nvapi|fw|ghp|AIza)[-_]?[A-Za-z0-9][\w*.\-]{5,}|\bBearer\s+\S+", re.IGNORECASE
)


def error_for(failure: Failure, route: Route, *, tries: int) -> ModelError:
    """The error that ends the call, with no secret in its text."""
    detail = shown(failure.detail, route)
    if failure.kind == "overflow":
        return ContextOverflow(
            f"The request is longer than {route.model_id} takes: {detail}", failure.limit_tokens
        )
    return ModelError(one_line(f"{_said(failure, route, tries)}{_and(detail)}"))


def _said(failure: Failure, route: Route, tries: int) -> str:
    model, variable = route.model_id, route.key_variable
    where = f" in {variable}" if variable else ""
    match failure.kind:
        case "auth":
            return f"{route.origin} refused the key{where}. Set a valid one and resume with -r"
        case "permission":
            return (
                f"The key{where} may not use {model}. Give it access (for an HF token: Inference Providers)"
            )
        case "unknown_model":
            if route.local:
                return f"{route.origin} does not serve {model!r}. Load it there, or choose another with -m"
            hint = " or drop its :provider suffix" if ":" in model else ""
            choose = "Choose another with -m (ml-intern models lists them)"
            return f"{route.origin} does not know {model!r}. {choose}{hint}"
        case "credit":
            return f"No credit left at {route.origin}. {_top_up(route)}, or choose another model with -m"
        case "unreachable":
            return f"Cannot reach {route.origin}. {_start(route)}"
        case "content_policy":
            choose = "or choose another model with -m"
            return f"{model} declined for its content policy. Rephrase the request, {choose}"
        case "rate_limit":
            return f"{route.origin} still limits the rate after {tries} attempts. Wait, then resume with -r"
        case "transient":
            return f"{model} failed {tries} times. Resume with -r, or choose another model with -m"
        case _:
            return f"{model} refused the request"


def _top_up(route: Route) -> str:
    if route.provider == "huggingface":
        return "Add credits at https://huggingface.co/settings/billing"
    return "Add credit there"


def _start(route: Route) -> str:
    if not route.local:
        return "Check the network and the base URL"
    variable = (route.key_variable or "").removesuffix("_API_KEY")
    return f"Start the server, or set {variable}_BASE_URL" if variable else "Start the server"


def _and(detail: str) -> str:
    return f". It said: {detail}" if detail else "."


def shown(text: str, route: Route) -> str:
    """A provider's text without keys, on one line, at most 300 characters."""
    if route.api_key and len(route.api_key) > 5:  # noqa: PLR2004 - a shorter one is no secret
        text = text.replace(route.api_key, "[key]")
    text = one_line(_KEYS.sub("[key]", text))
    return text if len(text) <= _DETAIL_CHARS else text[: _DETAIL_CHARS - 1] + "…"


def one_line(text: str) -> str:
    """The text with every run of white space as one blank, and no control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
