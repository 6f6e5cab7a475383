"""`ml-intern login` against a Hub on loopback: what is sent, stored, shown, and never shown."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ml_intern.configs.env_file import effective_environment
from ml_intern.tests.bench.command_line import CommandLine

if TYPE_CHECKING:
    from collections.abc import Iterator

AT_A_TERMINAL = """
import fcntl, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # so that Ctrl-C is a signal
from ml_intern.cli import main
main()
"""
GOOD = "hf_" + "g00D" * 9
BAD = "hf_" + "b4dB" * 9


class Hub(ThreadingHTTPServer):
    """Knows one token."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        super().__init__(("127.0.0.1", 0), _Answers)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Answers(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        authorization = self.headers.get("Authorization", "")
        self.server.seen.append((self.path, authorization))
        known = authorization == f"Bearer {GOOD}"
        account = {
            "name": "ada",
            "type": "user",
            "auth": {"accessToken": {"displayName": "t", "role": "write"}},
        }
        body = json.dumps(account if known else {"error": "Invalid credentials"}).encode()
        self.send_response(200 if known else 401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def cli(tmp_path: Path, hub: Hub) -> CommandLine:
    return CommandLine(tmp_path, {"HF_ENDPOINT": hub.url})


def stored() -> Path:
    return Path(os.environ["HOME"]) / ".cache" / "huggingface" / "token"


def test_a_token_from_standard_input_is_checked_stored_and_used(cli: CommandLine, hub: Hub) -> None:
    done = cli("login", stdin=f"{GOOD}\n")
    assert (done.code, done.out, done.err) == (0, "Logged in as ada.\n", "")
    assert {path for path, _ in hub.seen} == {"/api/whoami-v2"}
    assert stored().read_text() == GOOD
    assert stored().stat().st_mode & 0o077 == 0
    assert effective_environment(os.environ, cli.cwd).values["HF_TOKEN"] == GOOD
    again = cli("login", stdin=f"{GOOD}\n", HF_TOKEN=BAD)
    assert again.code == 0
    assert "HF_TOKEN is set to another token" in again.err
    doctor = cli("doctor")
    assert "ok     keys" in doctor.out
    assert "HF_TOKEN" in doctor.out
    assert GOOD not in doctor.out


def test_a_wrong_token_is_one_line_and_nothing_is_stored(cli: CommandLine) -> None:
    done = cli("login", stdin=f"{BAD}\n")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("Error: ")
    assert done.err.count("\n") == 1
    assert "refused this token" in done.err
    assert BAD not in done.err
    assert not stored().exists()


@pytest.mark.parametrize(
    ("typed", "said"), [("", "No token"), ("\n", "No token"), ("two words\n", "no token")]
)
def test_what_cannot_be_a_token_is_not_sent(cli: CommandLine, hub: Hub, typed: str, said: str) -> None:
    done = cli("login", stdin=typed)
    assert done.code == 1
    assert said in done.err
    assert not hub.seen


def test_a_hub_that_never_answers_is_given_up(tmp_path: Path) -> None:
    """In a process of its own: the library reads its endpoint only once."""
    code = f"""
import socket
from ml_intern.gateways.login import store_token
with socket.create_server(("127.0.0.1", 0)) as silent:
    store_token({GOOD!r}, endpoint=f"http://127.0.0.1:{{silent.getsockname()[1]}}", timeout_s=0.5)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ml_intern.errors.UserError: http://127.0.0.1:")
    assert "did not answer" in last
    assert GOOD not in last
    assert not stored().exists()


def test_a_token_typed_at_a_terminal_is_not_echoed_and_end_of_file_leaves(cli: CommandLine, hub: Hub) -> None:
    del hub
    assert _typed(cli, GOOD + "\n") == (0, True)
    stored().unlink()
    assert _typed(cli, "\x04") == (1, False)
    assert _typed(cli, "\x03") == (130, False)


def _typed(cli: CommandLine, keys: str) -> tuple[int, bool]:
    """Exit code, and whether a token is stored, after these keys at the prompt."""
    master, slave = pty.openpty()
    screen = b""
    with subprocess.Popen(
        [sys.executable, "-c", AT_A_TERMINAL, "login"],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        cwd=cli.cwd,
        env={**os.environ, **cli.env},
        start_new_session=True,
    ) as process:
        os.close(slave)
        while b"not shown:" not in screen:
            screen += os.read(master, 4096)
        os.write(master, keys.encode())
        while piece := _read(master):
            screen += piece
        code = process.wait(60)
    os.close(master)
    assert GOOD.encode() not in screen
    return code, stored().exists()


def _read(master: int) -> bytes:
    try:
        return os.read(master, 4096)
    except OSError:  # Linux says so when the other end is closed
        return b""
