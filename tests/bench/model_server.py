"""A model server on loopback that plays a script, as OpenAI and as Anthropic, and keeps a journal.

In-process it runs in a thread of its own, so blocking and async tests can use it alike:

    with ModelServer(["Hello!"]) as server:
        ...  # server.base_url, server.requests

As a process: `python -m ml_intern.tests.bench.model_server --script f.json`; see `process.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from .anthropic_wire import AnthropicWire
from .http_server import ClientGone, Exchange, Hangup, HttpServer
from .openai_wire import OpenAIWire
from .script import Json, Player, Script, ScriptEnded, ScriptLike, Step, load_script, script_from
from .wire import Answer, Refusal, Wire

if TYPE_CHECKING:
    from types import TracebackType

WIRES: dict[str, tuple[str, Wire]] = {
    "/chat/completions": ("openai", OpenAIWire()),
    "/messages": ("anthropic", AnthropicWire()),
}
"""End of the path -> name of the API, and how it talks."""


@dataclass(slots=True)
class Record:
    """One model request in the journal. Times are `time.monotonic()` in seconds."""

    number: int
    """From 0, in order of arrival."""
    api: str
    path: str
    arrived_at: float
    received_at: float
    body_bytes: int
    model: str | None = None
    messages: int = 0
    stream: bool = False
    track: str = ""
    """The text its track looks for; empty for the main track."""
    step: int | None = None
    status: int = 0
    """0 while unanswered, and for a connection dropped without an answer."""
    prompt_tokens: int = 0
    refusal: str | None = None
    """What was wrong with the request, in the provider's words."""
    first_byte_at: float | None = None
    answered_at: float | None = None
    """When the last byte of the answer was written; None if it never was."""
    ended: str = "open"
    """`open`, `answered`, `client_gone`, or `cut` by the script."""
    headers: dict[str, str] = field(default_factory=dict)
    body: Json | None = None


class ModelServer:
    """Plays a script on a port of 127.0.0.1."""

    def __init__(self, script: ScriptLike = (), *, port: int = 0, journal: Path | None = None) -> None:
        self.script: Script = script_from(script)
        self._players = [Player(track) for track in self.script.all_tracks]
        self._records: list[Record] = []
        self._changed = threading.Condition()
        self._journal = journal
        self._port = port
        self._gates: dict[str, asyncio.Event] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread: threading.Thread | None = None
        self._failure: Exception | None = None

    @property
    def root_url(self) -> str:
        """Where Anthropic's clients point: no path."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def base_url(self) -> str:
        """Where OpenAI's clients point: ends in `/v1`."""
        return f"{self.root_url}/v1"

    @property
    def requests(self) -> list[Record]:
        """The journal so far, refused requests included."""
        with self._changed:
            return list(self._records)

    def wait_for_requests(
        self, count: int, timeout_s: float = 30.0, *, answered: bool = False
    ) -> list[Record]:
        """Block until so many requests arrived (or were dealt with), and give the journal.

        Raises:
            TimeoutError: They did not.
        """

        def enough() -> bool:
            return sum(not answered or record.ended != "open" for record in self._records) >= count

        with self._changed:
            if not self._changed.wait_for(enough, timeout_s):
                raise TimeoutError(f"{len(self._records)} requests after {timeout_s} s, not {count}")
            return list(self._records)

    def release(self, gate: str) -> None:
        """Let the answers go on that wait for this gate, now and later."""
        assert self._loop is not None, "the server is not running"
        self._loop.call_soon_threadsafe(self._gate(gate).set)

    def start(self) -> Self:
        """Serve in a thread of its own."""
        ready = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self.serve(ready)), name="model-server", daemon=True
        )
        self._thread.start()
        if not ready.wait(30):
            raise RuntimeError("the model server did not start")
        return self

    def stop(self) -> None:
        """Close the port and all connections; later calls do nothing.

        Raises:
            RuntimeError: The server itself failed, above all in a step that is a function.
        """
        if self._thread is None or self._loop is None or self._stop is None:
            return
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)
        self._thread = None
        if self._failure is not None:
            raise RuntimeError(f"the model server failed: {self._failure!r}") from self._failure

    async def serve(self, ready: threading.Event | None = None) -> None:
        """Serve in the running loop until stopped."""
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = HttpServer(self._handle)
        self._port = await server.start(self._port)
        if ready is not None:
            ready.set()
        try:
            await self._stop.wait()
        finally:
            await server.stop()

    def request_stop(self) -> None:
        """End `serve` from within its loop."""
        if self._stop is not None:
            self._stop.set()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.start)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)

    def _gate(self, name: str) -> asyncio.Event:
        return self._gates.setdefault(name, asyncio.Event())

    async def _handle(self, exchange: Exchange) -> None:
        request = exchange.request
        if request.method == "POST":
            for end, (api, wire) in WIRES.items():
                if request.path.endswith(end):
                    await self._model_call(exchange, api, wire)
                    return
            if request.path.startswith("/__release/"):
                self._gate(request.path.removeprefix("/__release/")).set()
                await exchange.send_json(200, {})
                return
        elif request.method == "GET" and request.path.endswith("/models"):
            await exchange.send_json(200, self._models())
            return
        elif request.method == "GET" and request.path == "/__journal":
            await exchange.send_json(200, [asdict(record) for record in self.requests])
            return
        text = f"Invalid URL ({request.method} {request.path})"
        await exchange.send_json(404, {"error": {"message": text, "type": "invalid_request_error"}})

    def _models(self) -> Json:
        base = {"object": "model", "created": 1_700_000_000, "owned_by": "script"}
        entries = [
            {"id": model} if isinstance(model, str) else model for model in self.script.models or ["scripted"]
        ]
        return {"object": "list", "data": [{**base, **entry} for entry in entries]}

    async def _model_call(self, exchange: Exchange, api: str, wire: Wire) -> None:
        request = exchange.request
        record = Record(
            0, api, request.path, request.arrived_at, request.received_at, len(request.body),
            headers=dict(request.headers),
        )  # fmt: skip
        body = _parsed(request.body)
        _describe(record, body, keep=self.script.keep_bodies)
        with self._changed:
            record.number = len(self._records)
            self._records.append(record)
            self._changed.notify_all()
        try:
            await self._play(exchange, record, wire, body)
            record.answered_at, record.ended = time.monotonic(), "answered"
        except (ClientGone, asyncio.CancelledError):
            record.ended = "client_gone"
            raise
        except Hangup:
            record.ended = "cut"
            raise
        except Exception as error:
            # Whatever a step of the test raises must fail that test, not look like a bad network.
            self._failure, record.ended = error, "cut"
            raise Hangup from error
        finally:
            with self._changed:
                self._changed.notify_all()
            self._write_journal(record)

    async def _play(self, exchange: Exchange, record: Record, wire: Wire, body: Json) -> None:
        try:
            tokens = wire.check(body, exchange.request.headers, self.script)
            step, number = self._pick(record, exchange.request.body, body)
        except Refusal as refusal:
            record.status, record.refusal = refusal.status, str(refusal)
            await exchange.send_json(refusal.status, refusal.body)
            return
        except ScriptEnded as error:
            record.status, record.refusal = 400, str(error)
            await exchange.send_json(400, wire.refusal(400, str(error)))
            return
        record.step, record.prompt_tokens = number, tokens
        await self._before(exchange, step)
        record.first_byte_at = time.monotonic()
        if step.status >= 400:
            record.status = step.status
            await exchange.send_json(step.status, wire.refusal(step.status, step.error), step.headers)
            return
        record.status = 200
        answer = Answer(step, number, body, tokens)
        if record.stream:
            await _stream(exchange, step, wire.events(answer), wire.error_event(step.error))
        elif step.cut_after_chunks is not None:
            raise Hangup
        else:
            await exchange.send_json(200, wire.whole(answer), step.headers)

    def _pick(self, record: Record, raw: bytes, body: Json) -> tuple[Step, int]:
        player = next(p for p in self._players if p.track.contains.encode() in raw)
        record.track = player.track.contains
        return player.pick(body)

    async def _before(self, exchange: Exchange, step: Step) -> None:
        if step.hold:
            await exchange.wait_for(self._gate(step.hold))
        if step.stall:
            await exchange.wait(None)
        if step.delay_s:
            await exchange.wait(step.delay_s)
        if step.drop:
            raise Hangup

    def _write_journal(self, record: Record) -> None:
        if self._journal is None:
            return
        with self._journal.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(record)) + "\n")


async def _stream(exchange: Exchange, step: Step, events: list[bytes], error_event: bytes) -> None:
    await exchange.start_events(step.headers)
    stops = [step.cut_after_chunks, step.stall_after_chunks, step.error_after_chunks]
    sent = events[: min(stop for stop in (*stops, len(events)) if stop is not None)]
    if step.chunk_delay_s:
        for event in sent:
            await exchange.wait(step.chunk_delay_s)
            await exchange.send_events([event])
    else:
        await exchange.send_events(sent)
    if step.cut_after_chunks is not None:
        raise Hangup
    if step.stall_after_chunks is not None:
        await exchange.wait(None)
    if step.error_after_chunks is not None:
        await exchange.send_events([error_event])
    await exchange.end_events()


def _parsed(raw: bytes) -> Json:
    try:
        body = json.loads(raw)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _describe(record: Record, body: Json, *, keep: bool) -> None:
    messages = body.get("messages")
    record.model = str(body["model"]) if "model" in body else None
    record.messages = len(messages) if isinstance(messages, list) else 0
    record.stream = bool(body.get("stream"))
    record.body = body if keep else None


async def _until_orphaned(parent: int) -> None:
    while os.getppid() == parent:  # noqa: ASYNC110 -- nothing announces the death of a parent
        await asyncio.sleep(0.5)


async def _run(server: ModelServer, port_file: Path | None) -> None:
    loop = asyncio.get_running_loop()
    ready = threading.Event()
    serving = asyncio.ensure_future(server.serve(ready))
    await loop.run_in_executor(None, ready.wait)
    if port_file is not None:
        partial = port_file.with_name(port_file.name + ".part")
        partial.write_text(server.root_url.rpartition(":")[2], encoding="utf-8")
        partial.replace(port_file)
    print(server.base_url, flush=True)  # noqa: T201 -- how the parent learns the address
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.request_stop)

    def until_stdin_closes() -> None:
        while os.read(0, 4096):
            pass
        loop.call_soon_threadsafe(server.request_stop)

    threading.Thread(target=until_stdin_closes, daemon=True).start()
    orphaned = asyncio.ensure_future(_until_orphaned(os.getppid()))
    orphaned.add_done_callback(lambda _: server.request_stop())
    await serving
    orphaned.cancel()


def main(argv: list[str] | None = None) -> int:
    """Serve a script until stdin closes, the parent dies or a signal says so."""
    parser = argparse.ArgumentParser(description="A scripted model server on loopback.")
    parser.add_argument("--script", type=Path, required=True, help="JSON script")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--port-file", type=Path, help="written, whole, once the port is open")
    parser.add_argument("--journal", type=Path, help="file to append each request to, one JSON object a line")
    options = parser.parse_args(argv)
    server = ModelServer(load_script(options.script), port=options.port, journal=options.journal)
    asyncio.run(_run(server, options.port_file))
    return 0


if __name__ == "__main__":
    sys.exit(main())
