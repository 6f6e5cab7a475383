"""Content-addressed store for images and other big pieces, so that the history stays small."""

from __future__ import annotations

import base64
import hashlib
import os
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ..configs.home import open_private

if TYPE_CHECKING:
    from pathlib import Path

BIG_BYTES = 8_192


class BlobStore:
    """Files under `ML_INTERN_HOME/blobs`, named by their sha256."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def lift(self, message: dict[str, Any]) -> dict[str, Any]:
        """The message with its big data URLs replaced by `{blob, mime, bytes}`."""
        content = message.get("content")
        if not isinstance(content, list):
            return message
        return {**message, "content": [self._lift_part(part) for part in content]}

    def inline(self, message: dict[str, Any]) -> dict[str, Any]:
        """The message as the provider wants it; the same dict when it holds no blob."""
        content = message.get("content")
        if not isinstance(content, list) or not any("blob" in part for part in content):
            return message
        return {**message, "content": [self._inline_part(part) for part in content]}

    def _lift_part(self, part: dict[str, Any]) -> dict[str, Any]:
        url = part.get("image_url", {}).get("url", "")
        if not url.startswith("data:") or len(url) < BIG_BYTES:
            return part
        head, _, encoded = url.partition(",")
        raw = base64.b64decode(encoded)
        name = hashlib.sha256(raw).hexdigest()
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._root / name
        if not path.exists():
            unnamed = path.with_suffix(f".{os.getpid()}.part")  # another process may store the same image now
            with open_private(unnamed, "wb") as file:
                file.write(raw)
            unnamed.rename(path)
        return {"blob": name, "mime": head.removeprefix("data:").removesuffix(";base64"), "bytes": len(raw)}

    def _inline_part(self, part: dict[str, Any]) -> dict[str, Any]:
        if "blob" not in part:
            return part
        path = self._root / part["blob"]
        if not path.exists():
            return {"type": "text", "text": "[an image that is no longer stored]"}
        return {"type": "image_url", "image_url": {"url": _data_url(path, part["mime"])}}


@lru_cache(maxsize=16)
def _data_url(path: Path, mime: str) -> str:
    return f"data:{mime};base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"
