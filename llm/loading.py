"""Load litellm late, quietly, and without its detours.

`import litellm` takes 2.9 s here, 0.7 s of which is the garbage collector walking what was just made,
and such a process takes 0.9 s to exit. Collector off while it loads and the result frozen: 2.2 s and
0.05 s. Left alone, the import asks the network for prices and reads a `.env` of the directories above
its own; the first call then loads a tokenizer nobody wants (0.25 s), further modules and certificates
(0.15 s). From the start of a process to its first request: 2.6 s; `python -c "import litellm"`: 3.8 s.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .wire import tls_context

if TYPE_CHECKING:
    from collections.abc import Iterator, MutableMapping
    from types import ModuleType

_ENVIRONMENT = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # prices from the package, not from GitHub
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",  # the same for a list of beta headers
    "LITELLM_MODE": "PRODUCTION",  # else it loads a `.env` into our environment
    "LITELLM_LOG": "CRITICAL",
    # Requests of the openai/ route leave after 15 ms instead of 150 ms at 600 messages (see routes.py).
    "EXPERIMENTAL_OPENAI_BASE_LLM_HTTP_HANDLER": "true",
}
_LAZY = (
    "anyio._backends._asyncio",
    "httpcore",
    "litellm._service_logger",
    "litellm.litellm_core_utils.streaming_chunk_builder_utils",
    "litellm.llms.anthropic.completion.transformation",
    "litellm.llms.edenai.chat.transformation",
    "litellm.llms.fal_ai.chat.transformation",
    "litellm.llms.openai.chat.gpt_audio_transformation",
    "litellm.llms.openai_like.dynamic_config",
    "litellm.llms.vertex_ai.vertex_ai_partner_models.anthropic.transformation",
    "litellm.llms.litellm_proxy.chat.transformation",
    "litellm.proxy.openai_files_endpoints.common_utils",
    "litellm.responses.mcp.chat_completions_handler",
    "litellm.responses.mcp.litellm_proxy_mcp_handler",
)
"""Modules the first call would import on the event loop."""
_SWITCH_S = 0.001
"""The import holds the interpreter for 5 ms at a time by default; the loop wants its turn sooner."""

_lock = threading.Lock()
_loaded: ModuleType | None = None


async def load_litellm() -> ModuleType:
    """The litellm module, imported in a thread of its own on the first call; further calls share it.

    Cancelling the caller leaves the import running: a half imported litellm would be of no use.
    """
    if _loaded is not None:
        return _loaded
    loop = asyncio.get_running_loop()
    done: asyncio.Future[ModuleType] = loop.create_future()

    def settle(module: ModuleType | None, error: Exception | None) -> None:
        if done.done():
            return
        if module is not None:
            done.set_result(module)
        elif error is not None:
            done.set_exception(error)

    def work() -> None:
        try:
            module, error = load_now(), None
        except Exception as caught:  # noqa: BLE001 - boundary of the thread: the awaiting task gets it
            module, error = None, caught
        try:
            loop.call_soon_threadsafe(settle, module, error)
        except RuntimeError:
            return  # the loop is gone, and with it whoever wanted litellm

    # A daemon: Ctrl-C during the import must not wait for it.
    threading.Thread(target=work, name="load-litellm", daemon=True).start()
    return await done


def load_now() -> ModuleType:
    """Import litellm in this thread, or wait for the thread that does."""
    global _loaded  # noqa: PLW0603 - one module, one import
    with _lock:
        if _loaded is None:
            prepare_environment(os.environ)
            with _undisturbed():
                _loaded = _import()
    return _loaded


def prepare_environment(environ: MutableMapping[str, str]) -> None:
    """Set what litellm reads while it is imported; what is set already stays, but for its log level."""
    for name, value in _ENVIRONMENT.items():
        if name == "LITELLM_LOG":
            environ.setdefault(name, value)
        else:
            environ[name] = value


@contextmanager
def _undisturbed() -> Iterator[None]:
    """No garbage collection, short turns; what was made is taken out of later collections."""
    collecting, interval = gc.isenabled(), sys.getswitchinterval()
    gc.disable()
    sys.setswitchinterval(_SWITCH_S)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
        if collecting:
            gc.enable()
        gc.freeze()


def _import() -> ModuleType:
    import importlib  # noqa: PLC0415 - beside the import it serves
    import logging  # noqa: PLC0415 - beside the import it serves
    import warnings  # noqa: PLC0415 - beside the import it serves

    import litellm  # noqa: PLC0415 - seconds and 170 MB

    litellm.suppress_debug_info = True
    litellm.drop_params = True
    litellm.disable_streaming_logging = True
    litellm.disable_token_counter = True
    # Its Responses bridge puts a usage of its own shape into a model, and pydantic tells the terminal.
    warnings.filterwarnings("ignore", message="Pydantic serializer warnings")
    for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.setLevel(logging.CRITICAL)
    for name in _LAZY:
        try:
            importlib.import_module(name)
        except ImportError:
            continue  # moved in another release: the first call is that much slower
    _defer_tokenizer()
    tls_context()
    return litellm  # type: ignore[no-any-return]


def _defer_tokenizer() -> None:
    """Load the tokenizer when it is used: litellm hands it to every handler, and hardly one does."""
    main = sys.modules.get("litellm.main")
    if getattr(main, "_encoding_cache", False) is None:
        main._encoding_cache = _LateTokenizer()  # type: ignore[union-attr]


class _LateTokenizer:
    """litellm's default tokenizer, loaded at its first use."""

    def __getattr__(self, name: str) -> Any:
        from litellm._lazy_imports import _get_default_encoding  # noqa: PLC0415 - 0.25 s

        return getattr(_get_default_encoding(), name)
