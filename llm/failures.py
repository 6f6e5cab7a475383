"""What went wrong with a model call, decided by type and status code, then by the provider's own words."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from .wire import Refused, StreamFault

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .wire import Wire

Kind = Literal[
    "overflow", "rate_limit", "transient", "unreachable", "auth", "permission", "unknown_model", "credit",
    "content_policy", "effort", "thinking", "refused",
]  # fmt: skip

PASSING: frozenset[Kind] = frozenset({"rate_limit", "transient", "unreachable"})
"""Kinds that may be gone at the next attempt."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed attempt."""

    kind: Kind
    detail: str
    """The provider's text, or ours."""
    status: int | None = None
    retry_after_s: float | None = None
    limit_tokens: int | None = None


_BY_STATUS: dict[int, Kind] = {
    401: "auth",
    402: "credit",
    403: "permission",
    404: "unknown_model",
    408: "transient",
    409: "transient",
    413: "overflow",
    425: "transient",
    429: "rate_limit",
    501: "refused",
    505: "refused",
}

_STATUS_OF_TYPE = {
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
    "invalid_request_error": 400,
}
"""Status that belongs to an error type, for errors inside a stream, which come without one."""

_CODES: dict[str, Kind] = {
    "context_length_exceeded": "overflow",
    "exceed_context_size_error": "overflow",
    "request_too_large": "overflow",
    "string_above_max_length": "overflow",
    "insufficient_quota": "credit",
    "billing_hard_limit_reached": "credit",
    "billing_not_active": "credit",
    "model_not_found": "unknown_model",
    "model_not_supported": "unknown_model",
    "content_policy_violation": "content_policy",
    "content_filter": "content_policy",
    "invalid_api_key": "auth",
}

_OVERFLOW = re.compile(
    r"maximum context length|max(?:imum)? model length|context (?:window|length|size|limit)"
    r"|prompt is too long|input is too long|too many input tokens|input token count|request (?:is )?too large"
    r"|reduce the length of the (?:messages|prompt|input)|inputs?`? must have less than"
    r"|exceeds? the available context"
    r"|prompt contains [\d,]+ tokens|longer than the model's context|max_new_tokens` must be",
    re.IGNORECASE,
)
_LIMITS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"maximum (?:context|model) length (?:is|of) ([\d,]+)",
        r"> ?([\d,]+)(?: maximum)?",
        r"([\d,]+) (?:token )?maximum context",
        r"available context size \(([\d,]+)",
        r"tokens allowed \(([\d,]+)\)",
        r"less than ([\d,]+) tokens",
        r"must be <= ([\d,]+)",
        r"(?:context (?:window|length|size|limit)|limit)\D{0,24}?([\d,]{4,})",
    )
)
_CREDIT = re.compile(
    r"credit balance|insufficient (?:credit|balance|fund|quota)|exceeded your (?:monthly|current)",
    re.IGNORECASE,
)
_POLICY = re.compile(
    r"content (?:policy|filter|management)|safety (?:policy|system|filter)|usage polic", re.IGNORECASE
)
_EFFORT = re.compile(r"reasoning[_.\s]?effort|output_config|\beffort\b|thinking", re.IGNORECASE)
_REJECTED = re.compile(
    r"not support|unsupported|invalid|must be one of|unknown|unrecognized|unexpected|not permitted"
    r"|extra inputs|not allowed|does not|expected `?thinking|greater than",
    re.IGNORECASE,
)
_SIGNATURE = re.compile(
    r"signature.{0,60}thinking|thinking.{0,80}signature|thinking.{0,60}cannot be modified",
    re.IGNORECASE | re.DOTALL,
)
_MODEL = re.compile(
    r"model\b.{0,120}?(?:does not exist|not found|not supported|is not available|no longer available|unknown)"
    r"|(?:unknown|no such|invalid) model",
    re.IGNORECASE | re.DOTALL,
)


def classify(error: BaseException, wire: Wire | None, *, effort_sent: bool) -> Failure:
    """What kind of failure an attempt ended with.

    Args:
        error: What litellm or the stream raised.
        wire: The attempt's connection, if it was ours; what it saw outranks litellm's reading of it.
        effort_sent: A reasoning effort was part of the request, so the provider may have refused it.
    """
    if isinstance(error, StreamFault):
        return _from_body(None, error.payload, {}, effort_sent=effort_sent)
    if wire is not None and wire.refused is not None:
        return _from_refusal(wire.refused, effort_sent=effort_sent)
    if wire is not None and wire.fault is not None:
        return _from_transport(wire.fault)
    if isinstance(error, TimeoutError):
        return Failure("transient", "the attempt took too long")
    return _from_litellm(error, effort_sent=effort_sent)


def _from_refusal(refused: Refused, *, effort_sent: bool) -> Failure:
    try:
        payload: Any = json.loads(refused.body)
    except ValueError:
        payload = refused.body
    return _from_body(refused.status, payload, refused.headers, effort_sent=effort_sent)


def _from_body(status: int | None, payload: Any, headers: Mapping[str, str], *, effort_sent: bool) -> Failure:
    text, codes, param = _error_of(payload)
    if status is None:
        # Only errors inside a stream come without a status; unless they say otherwise, they pass.
        status = next((_STATUS_OF_TYPE[code] for code in codes if code in _STATUS_OF_TYPE), None)
        status = status or next((int(code) for code in codes if re.fullmatch(r"[45]\d\d", code)), 500)
    kind = _kind(status, codes, text, param, effort_sent=effort_sent)
    return Failure(
        kind,
        text or f"HTTP {status}",
        status,
        retry_after_s=_retry_after(headers) if kind in PASSING else None,
        limit_tokens=_limit(text) if kind == "overflow" else None,
    )


def _error_of(payload: Any) -> tuple[str, list[str], str]:
    """Message, codes (type, code, status) and parameter of a provider's error body."""
    if isinstance(payload, list) and payload:
        payload = payload[0]
    if not isinstance(payload, dict):
        text = str(payload).strip()
        return ("" if text.startswith("<") else text), [], ""
    error = payload.get("error", payload)
    if not isinstance(error, dict):
        return str(error), [str(payload.get("type") or ""), str(payload.get("error_type") or "")], ""
    message = error.get("message") or error.get("detail") or payload.get("detail") or payload.get("message")
    if not isinstance(message, str):
        message = json.dumps(message or error)
    codes = [str(error[key]).lower() for key in ("code", "type", "status") if error.get(key) is not None]
    return message, codes, str(error.get("param") or "")


def _kind(status: int, codes: list[str], text: str, param: str, *, effort_sent: bool) -> Kind:
    coded = next((_CODES[code] for code in codes if code in _CODES), None)
    if coded is not None:
        return coded
    if status == 429:  # noqa: PLR2004 - the one status whose words can mean three things
        if "request too large" in text.lower():
            return "overflow"  # above the tokens a minute: repeating it can never help
        return "credit" if _CREDIT.search(text) else "rate_limit"
    if status in {400, 404, 422, 500} and _OVERFLOW.search(text):
        return "overflow"
    if status in _BY_STATUS:
        return "credit" if status == 403 and _CREDIT.search(text) else _BY_STATUS[status]  # noqa: PLR2004
    if status >= 500:  # noqa: PLR2004 - the server's fault
        return "transient"
    return _kind_of_bad_request(text, param, effort_sent=effort_sent)


def _kind_of_bad_request(text: str, param: str, *, effort_sent: bool) -> Kind:
    if _SIGNATURE.search(text):
        return "thinking"
    if effort_sent and ("effort" in param or (_EFFORT.search(text) and _REJECTED.search(text))):
        return "effort"
    if _CREDIT.search(text):
        return "credit"
    if _POLICY.search(text):
        return "content_policy"
    if _MODEL.search(text):
        return "unknown_model"
    return "refused"


def _from_transport(error: Exception) -> Failure:
    import httpx  # noqa: PLC0415 - raised it, so it is loaded

    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.UnsupportedProtocol):
        return Failure("unreachable", str(error) or "no connection in time")
    if isinstance(error, httpx.TimeoutException):
        return Failure("transient", "no answer in time")
    return Failure("transient", "the connection broke")


def _from_litellm(error: BaseException, *, effort_sent: bool) -> Failure:
    """For the routes whose HTTP litellm does by itself."""
    original = getattr(error, "original_exception", None)
    if isinstance(original, BaseException):  # MidStreamFallbackError wraps the real one
        error = original
    text = str(getattr(error, "message", None) or error)
    name = type(error).__name__
    if name in {"ContextWindowExceededError", "ContentPolicyViolationError"}:
        kind: Kind = "overflow" if name.startswith("Context") else "content_policy"
        return Failure(kind, text, _status(error), limit_tokens=_limit(text))
    if name == "APIConnectionError" and _status_is_made_up(error):
        return Failure("transient", text)
    if name == "Timeout":
        return Failure("transient", "no answer in time")
    status = _status(error)
    if status is None:
        return Failure("refused", f"{name}: {text}")
    return _from_body(status, _payload_in(text), _headers(error), effort_sent=effort_sent)


def _payload_in(text: str) -> Any:
    """The provider's body, which litellm quotes behind names of its own."""
    found = re.search(r"\{.*\}", text, re.DOTALL)
    try:
        return json.loads(found.group()) if found else text
    except ValueError:
        return text


def _status_is_made_up(error: BaseException) -> bool:
    """Whether the error is litellm's name for what it cannot name, which our own bugs can be, too."""
    cause = error.__cause__ or error.__context__
    return not isinstance(cause, TypeError | KeyError | AttributeError)


def _status(error: BaseException) -> int | None:
    status = getattr(error, "status_code", None)
    return status if isinstance(status, int) else None


def _headers(error: BaseException) -> Mapping[str, str]:
    for source in (getattr(error, "litellm_response_headers", None), getattr(error, "response", None)):
        headers = getattr(source, "headers", source)
        if headers:
            return {str(name).lower(): str(value) for name, value in dict(headers).items()}
    return {}


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds a provider asks to wait: `retry-after-ms`, or `retry-after` in seconds or as a date."""
    import time  # noqa: PLC0415 - the rare path
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - the rare path

    milliseconds, seconds = headers.get("retry-after-ms"), headers.get("retry-after")
    try:
        if milliseconds:
            return max(0.0, float(milliseconds) / 1000)
        return max(0.0, float(seconds)) if seconds else None
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(seconds or "").timestamp() - time.time())
    except ValueError:
        return None


def _limit(text: str) -> int | None:
    """The window in tokens that a refusal names."""
    for pattern in _LIMITS:
        if found := pattern.search(text):
            number = found.group(1).replace(",", "")
            if number:
                return int(number)
    named = re.search(r'n_ctx"?[ =:]+(\d+)', text)
    return int(named.group(1)) if named else None
