"""Loading litellm: quiet, offline, off the loop."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """
import asyncio, json, os, sys, time

async def main():
    from ml_intern.llm.loading import load_litellm
    longest, loading = 0.0, True

    async def tick():
        nonlocal longest
        while loading:
            started = time.perf_counter()
            await asyncio.sleep(0.005)
            longest = max(longest, time.perf_counter() - started)

    ticking = asyncio.create_task(tick())
    first, second = await asyncio.gather(load_litellm(), load_litellm())
    loading = False
    await ticking
    print(json.dumps({
        "same": first is second is sys.modules["litellm"],
        "longest_s": longest,
        "stolen": os.environ.get("STOLEN"),
        "tokenizer": "litellm.litellm_core_utils.default_encoding" in sys.modules,
        "tokens": len(sys.modules["litellm.main"]._get_encoding().encode("hello world")),
    }))

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    folder: Path = tmp_path_factory.mktemp("project")
    (folder / ".env").write_text("STOLEN=yes\n")
    # Every way out is a closed port: a detour to the network would be seen as a warning on stderr.
    closed = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:9")
    ran = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", PROGRAM],
        cwd=folder,
        env={**os.environ, **closed},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return json.loads(ran.stdout), ran.stderr


def test_loading_twice_gives_one_module(loaded: tuple[dict[str, Any], str]) -> None:
    assert loaded[0]["same"]


def test_loading_says_nothing(loaded: tuple[dict[str, Any], str]) -> None:
    assert loaded[1] == ""


def test_a_dotenv_file_of_the_directory_is_not_read(loaded: tuple[dict[str, Any], str]) -> None:
    assert loaded[0]["stolen"] is None


def test_the_event_loop_keeps_turning(loaded: tuple[dict[str, Any], str]) -> None:
    # 0.05 s when nothing else runs; the import on the loop itself would be seconds.
    assert loaded[0]["longest_s"] < 1.5


def test_the_tokenizer_waits_for_its_first_use(loaded: tuple[dict[str, Any], str]) -> None:
    assert not loaded[0]["tokenizer"]
    assert loaded[0]["tokens"] == 2


def test_building_a_client_loads_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from ml_intern.llm.client import ModelClient\n"
        "from ml_intern.llm.model_settings import ModelSettings\n"
        "ModelClient('vllm/m', ModelSettings())\n"
        "print([name for name in ('litellm', 'httpx', 'openai', 'pydantic') if name in sys.modules])\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
