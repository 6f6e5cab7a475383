from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from ml_intern.tools.base import ToolContext
from ml_intern.tools.registry import ToolRouter, default_tools

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from ml_intern.tools.base import ToolResult

    Call = Callable[..., Awaitable[ToolResult]]


@pytest.fixture
def logs() -> list[str]:
    return []


@pytest.fixture
def context(tmp_path: Path, logs: list[str]) -> ToolContext:
    work = tmp_path / "work"
    work.mkdir()
    env = {**os.environ, "HOME": str(tmp_path)}
    return ToolContext("call-1", work, tmp_path / "spill", env, {}, logs.append)


@pytest.fixture
def router() -> ToolRouter:
    return ToolRouter(default_tools())


@pytest.fixture
def call(router: ToolRouter, context: ToolContext) -> Call:
    async def run(name: str, **arguments: Any) -> ToolResult:
        return await router.run(router.parse(name, json.dumps(arguments)), context)

    return run
