"""The HTTP side of one model call: our connection under litellm's request, and the bytes that come back.

litellm builds the request and understands the answer; the connection is ours, because litellm's own
handler posts a request a second time when the server hangs up on it, follows redirects (and would take
an `x-api-key` along to another origin), and loses the status and headers of a refusal on the way. The
stream is read here, too: litellm's line reader drops every event whose text contains `[DONE]` or a raw
U+2028, and its wrapper gives up on an answer that repeats one chunk a hundred times (seen on 1.105.3).
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping

    import httpx

    from .model_settings import ModelSettings

_ERROR_BODY_BYTES = 65_536
_DRAIN_S = 0.5
"""How long to wait for the end of the body after the last event, so that the connection can be used again."""


class StreamFault(Exception):
    """The provider put an error into the stream, or the stream broke its protocol."""

    def __init__(self, payload: Any) -> None:
        super().__init__("error in the stream")
        self.payload = payload


@dataclass(frozen=True, slots=True)
class Refused:
    """An answer with an error status, as it came over the wire."""

    status: int
    headers: Mapping[str, str]
    body: str


class Connection:
    """The connections of one client, opened with its first call and shared by all of them."""

    def __init__(self, settings: ModelSettings, *, local: bool) -> None:
        self._settings = settings
        self._local = local
        self._http: httpx.AsyncClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def http(self) -> httpx.AsyncClient:
        """The client of this event loop; connections cannot move from one loop to another."""
        loop = asyncio.get_running_loop()
        if self._http is None or self._http.is_closed or self._loop is not loop:
            self._http = self._open()
            self._loop = loop
        return self._http

    def _open(self) -> httpx.AsyncClient:
        import httpx  # noqa: PLC0415 - 70 ms, only wanted by a run

        # A proxy of the environment is for the network, not for a model on this machine.
        return httpx.AsyncClient(
            verify=tls_context(),
            timeout=self._settings.timeout_s,
            follow_redirects=False,
            trust_env=not self._local,
            limits=httpx.Limits(max_connections=64, max_keepalive_connections=8, keepalive_expiry=120.0),
        )

    async def close(self) -> None:
        """Close every connection; the next call opens new ones."""
        http, self._http = self._http, None
        if http is not None and self._loop is asyncio.get_running_loop():
            await http.aclose()


@cache
def tls_context() -> ssl.SSLContext:
    """The certificates to trust, read once for the process (30 ms), by the thread that loads litellm."""
    import httpx  # noqa: PLC0415 - 70 ms, only wanted by a run

    return httpx.create_ssl_context()


class Wire:
    """One attempt: what was sent through it is remembered until `close`."""

    def __init__(self, connection: Connection, settings: ModelSettings, *, stall_s: float) -> None:
        self._connection = connection
        self._settings = settings
        self._stall_s = stall_s
        self.response: httpx.Response | None = None
        self.refused: Refused | None = None
        self.fault: Exception | None = None
        """The transport error, when there was one."""
        self._ended = False

    async def post(
        self,
        url: str,
        data: Any = None,
        json: Any = None,
        params: Any = None,
        headers: Any = None,
        timeout: Any = None,
        stream: bool = False,
        **_: Any,
    ) -> httpx.Response:
        """Send litellm's request once; the signature is that of litellm's handler."""
        import httpx  # noqa: PLC0415 - loaded by the connection already

        del timeout  # litellm passes one number for all phases of a request
        http = self._connection.http()
        raw = data if isinstance(data, str | bytes) else None
        request = http.build_request(
            "POST",
            url,
            content=raw,
            data=None if raw is not None else data,
            json=json,
            params=params,
            headers=headers,
            timeout=self._timeout(stream=stream),
        )
        try:
            response = await http.send(request, stream=stream)
        except httpx.TransportError as error:
            self.fault = error
            raise
        if stream:
            self.response = response
        if not response.is_success:
            self.refused = await _refusal(response)
            response.raise_for_status()
        return response

    def _timeout(self, *, stream: bool) -> httpx.Timeout:
        import httpx  # noqa: PLC0415 - loaded by the connection already

        settings = self._settings
        # A whole answer is silent until it is complete.
        read_s = self._stall_s if stream else settings.timeout_s
        return httpx.Timeout(settings.timeout_s, connect=settings.connect_timeout_s, read=read_s)

    async def events(self) -> AsyncGenerator[dict[str, Any], None]:
        """The JSON events of the stream, up to `[DONE]` or the end of the body.

        Raises:
            StreamFault: The stream holds an error, or something that is no JSON object.
            httpx.TransportError: The connection broke.
        """
        import httpx  # noqa: PLC0415 - loaded by the connection already

        assert self.response is not None
        lines = _lines(self.response)
        try:
            async for data in _data_fields(lines):
                if data == b"[DONE]":
                    break
                event = _event(data)
                yield event
                if event.get("type") == "message_stop":
                    break
            await self._drain(lines)
        except httpx.TransportError as error:
            self.fault = error
            raise

    async def _drain(self, lines: AsyncIterator[bytes]) -> None:
        try:
            async with asyncio.timeout(_DRAIN_S):
                async for _ in lines:
                    pass
        except TimeoutError:
            return  # the answer is complete; close() hangs up

    async def close(self) -> None:
        """Hang up, unless the answer was read to its end."""
        response, self.response = self.response, None
        if response is not None:
            await response.aclose()


@cache
def _handler_class() -> Any:
    """A subclass of litellm's own handler, since it takes nothing else for a client."""
    from litellm.llms.custom_httpx.http_handler import (  # noqa: PLC0415 - heavy, and loaded by then
        AsyncHTTPHandler,
    )

    def init(self: Any, wire: Wire) -> None:
        self.post = wire.post

    # Without litellm's __init__ there is no client of its own, which its finaliser would want to close.
    return type("WireHandler", (AsyncHTTPHandler,), {"__init__": init, "__del__": lambda _: None})


def litellm_handler(wire: Wire) -> Any:
    """What to hand to litellm as `client`, so that it posts through `wire`."""
    return _handler_class()(wire)


async def _refusal(response: httpx.Response) -> Refused:
    import httpx  # noqa: PLC0415 - loaded by the connection already

    body = b""
    try:
        if response.is_stream_consumed:
            body = response.content
        else:
            body = await response.aread()
    except httpx.HTTPError:
        pass  # the status alone must do
    text = body[:_ERROR_BODY_BYTES].decode("utf-8", "replace")
    return Refused(response.status_code, dict(response.headers), text)


async def _lines(response: httpx.Response) -> AsyncIterator[bytes]:
    """Lines as server-sent events define them (LF, CRLF or CR), which U+2028 does not end."""
    rest = b""
    async for block in response.aiter_bytes():
        rest += block
        if b"\n" not in block and b"\r" not in block:
            continue
        *complete, rest = rest.replace(b"\r\n", b"\n").split(b"\n")
        for line in complete:
            yield line
    if rest:
        yield rest


async def _data_fields(lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The data of each event; an event of several data lines is joined."""
    held: list[bytes] = []
    async for line in lines:
        if line.startswith(b"data:"):
            held.append(line[5:].strip())
        elif not line.strip() and held:
            yield b"\n".join(held)
            held = []
    if held:
        yield b"\n".join(held)


def _event(data: bytes) -> dict[str, Any]:
    try:
        event = json.loads(data)
    except ValueError:
        raise StreamFault(data[:300].decode("utf-8", "replace")) from None
    if not isinstance(event, dict):
        raise StreamFault(event)
    if event.get("error") or event.get("type") == "error":
        raise StreamFault(event)
    return event
