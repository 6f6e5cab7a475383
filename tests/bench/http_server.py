"""The least of HTTP/1.1 a model server needs: keep-alive, large bodies, event streams, faults on demand."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

READ_AHEAD = 8_388_608
"""Bytes taken in before a body is asked for: a request of 1 MB arrives without a pause."""


class ClientGone(Exception):
    """The other side closed the connection."""


class Hangup(Exception):
    """The handler wants the connection closed, whatever was sent."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request, read whole. Times are `time.monotonic()`, which all processes of a machine share."""

    method: str
    path: str
    headers: Mapping[str, str]
    """Names in small letters."""
    body: bytes
    arrived_at: float
    """When the head was there."""
    received_at: float
    """When the last byte of the body was there."""


class Exchange:
    """The answering side of one request."""

    def __init__(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.request = request
        self._reader = reader
        self._writer = writer
        self._chunked = False

    async def send_json(self, status: int, body: Any, headers: Mapping[str, str] | None = None) -> None:
        """Answer in one piece."""
        data = json.dumps(body).encode()
        more = {"Content-Type": "application/json", "Content-Length": str(len(data)), **(headers or {})}
        await self._write(_head(status, more) + data)

    async def start_events(self, headers: Mapping[str, str] | None = None) -> None:
        """Begin an event stream."""
        more = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}
        self._chunked = True
        await self._write(_head(200, {**more, "Transfer-Encoding": "chunked", **(headers or {})}))

    async def send_events(self, events: list[bytes]) -> None:
        """Send events, in one write but each as a chunk of its own."""
        await self._write(b"".join(b"%x\r\n%b\r\n" % (len(event), event) for event in events))

    async def end_events(self) -> None:
        """End the stream in good order."""
        await self._write(b"0\r\n\r\n")

    async def wait(self, seconds: float | None) -> None:
        """Wait, but no longer than the client does; None waits for the client alone.

        Raises:
            ClientGone: It closed the connection.
        """
        try:
            byte = await asyncio.wait_for(self._reader.read(1), seconds)
        except TimeoutError:
            return
        except ConnectionError as error:
            raise ClientGone from error
        # Nobody sends a second request before the answer to the first: anything but an end is no HTTP client.
        raise ClientGone("pipelined request" if byte else "closed")

    async def wait_for(self, gate: asyncio.Event) -> None:
        """Wait for the gate to open, or the client to go.

        Raises:
            ClientGone: The client went first.
        """
        opened = asyncio.ensure_future(gate.wait())
        gone = asyncio.ensure_future(self._reader.read(1))
        try:
            await asyncio.wait({opened, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not gate.is_set():
                raise ClientGone("closed")
        finally:
            opened.cancel()
            gone.cancel()
            await asyncio.gather(opened, gone, return_exceptions=True)

    async def _write(self, data: bytes) -> None:
        if self._writer.is_closing():
            raise ClientGone("closed")
        try:
            self._writer.write(data)
            await self._writer.drain()
        except ConnectionError as error:
            raise ClientGone from error


Handler = Callable[[Exchange], Awaitable[None]]


class HttpServer:
    """Serves one handler on a port of 127.0.0.1."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self, port: int = 0) -> int:
        """Listen, and give the port back."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, limit=READ_AHEAD)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Close the port and every connection."""
        if self._server is None:
            return
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            while (request := await _read(reader, writer)) is not None:
                await self._handler(Exchange(request, reader, writer))
                if request.headers.get("connection", "").lower() == "close":
                    break
        except (ClientGone, Hangup, ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            self._connections.discard(task)
            writer.close()
            # asyncio cancels us when the server stops; a client that is gone is no news.
            await asyncio.gather(writer.wait_closed(), return_exceptions=True)


async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request | None:
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None
    arrived_at = time.monotonic()
    lines = raw[:-4].decode("latin-1").split("\r\n")
    method, _, rest = lines[0].partition(" ")
    headers = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    if headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = await _read_chunked(reader)
    else:
        body = await reader.readexactly(int(headers.get("content-length") or 0))
    path = rest.rpartition(" ")[0].partition("?")[0]
    return Request(method, path, headers, body, arrived_at, time.monotonic())


async def _read_chunked(reader: asyncio.StreamReader) -> bytes:
    parts = []
    while size := int((await reader.readline()).split(b";")[0], 16):
        parts.append(await reader.readexactly(size))
        await reader.readexactly(2)
    while (await reader.readline()).strip():
        pass
    return b"".join(parts)


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    phrase = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else "Status"
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
