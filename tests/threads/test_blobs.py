from __future__ import annotations

import base64
import os
import stat
from typing import TYPE_CHECKING

from ml_intern.llm.tokens import IMAGE_TOKENS, estimate_message
from ml_intern.tests.threads.world import call, calls
from ml_intern.threads.blobs import BlobStore

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from ml_intern.tests.threads.world import Worlds


def image(size: int) -> dict[str, Any]:
    """A message with an image of so many bytes."""
    url = f"data:image/png;base64,{base64.b64encode(os.urandom(size)).decode()}"
    return {
        "role": "tool",
        "content": [{"type": "text", "text": "plot"}, {"type": "image_url", "image_url": {"url": url}}],
    }


def test_a_big_image_is_stored_once_and_comes_back_the_same(tmp_path: Path) -> None:
    blobs, message = BlobStore(tmp_path / "blobs"), image(20_000)
    lifted = blobs.lift(message)
    part = lifted["content"][1]
    assert (part["mime"], part["bytes"]) == ("image/png", 20_000)
    assert lifted["content"][0] == message["content"][0]
    assert blobs.lift(message) == lifted
    (path,) = (tmp_path / "blobs").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert blobs.inline(lifted) == message
    assert estimate_message(lifted) >= IMAGE_TOKENS


def test_small_images_and_texts_stay_where_they_are(tmp_path: Path) -> None:
    blobs, small = BlobStore(tmp_path / "blobs"), image(2_000)
    assert blobs.lift(small) == small
    text = {"role": "tool", "content": "plain"}
    assert blobs.lift(text) is text
    assert blobs.inline(text) is text
    assert not (tmp_path / "blobs").exists()


def test_an_image_that_is_gone_is_said_to_be(tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path / "blobs")
    lifted = blobs.lift(image(20_000))
    next((tmp_path / "blobs").iterdir()).unlink()
    assert "no longer stored" in blobs.inline(lifted)["content"][1]["text"]


async def test_an_image_reaches_the_model_but_not_the_database(worlds: Worlds) -> None:
    world = worlds(calls(call("read", path="plot.png")), "A plot.", model_id="openai/gpt-4o")
    raw = PNG + os.urandom(30_000)
    (world.work / "plot.png").write_bytes(raw)
    async with world.open() as thread:
        await thread.take()
        (result,) = [entry for entry in await thread.history() if entry["kind"] == "result"]
        assert any("blob" in part for part in result["message"]["content"])
        database = (world.home / "ml-intern.db").read_bytes()
        assert base64.b64encode(raw)[:200] not in database
    assert base64.b64encode(raw).decode() in str(world.messages())


PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
