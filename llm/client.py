"""Call a model: retries, repairs and errors around one attempt."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, Any

from . import catalogue, router_catalogue
from .attempt import AttemptFailed, attempt
from .effort import next_lower
from .failures import PASSING, Failure, classify
from .loading import load_litellm
from .remedies import error_for, shown
from .reply import Reply, finish_message
from .request import request_arguments, sends_effort
from .routes import resolve
from .wire import Connection, Wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..errors import ModelError
    from .gather import Gatherer
    from .model_settings import ModelSettings

_JITTER = 0.25
"""Waits are up to a quarter longer, so that several runs do not come back at the same moment."""
_LOCAL_UNREACHABLE_TRIES = 2
"""A server on this machine that nobody started will not start by itself."""


class ModelClient:
    """One model, as a thread calls it. Safe for several calls at a time."""

    def __init__(self, model_id: str, settings: ModelSettings) -> None:
        """Choose the route; nothing is loaded or connected yet.

        Raises:
            UserError: The id is none, or its key is missing.
        """
        self.model_id = model_id
        self.settings = settings
        self.route = resolve(model_id, settings)
        self.effort = settings.reasoning_effort
        """The level in use; a refused one is lowered for the rest of the run."""
        self._thinking = True
        self._learned_window: int | None = None
        self._connection = Connection(settings, local=self.route.local)

    @property
    def window(self) -> int | None:
        """Context window in tokens, None when unknown; a window named by a refusal outranks the catalogue."""
        known = catalogue.window(self.model_id, self.settings)
        learned = self._learned_window
        return min(known, learned) if known and learned else learned or known

    @property
    def price(self) -> catalogue.Price | None:
        """None when unknown, which is not zero."""
        return catalogue.price(self.model_id, self.settings)

    @property
    def takes_images(self) -> bool:
        """Whether the model takes images; False when nothing says so."""
        return catalogue.takes_images(self.model_id, self.settings)

    async def look_up_price(self) -> bool:
        """Fetch the router's catalogue (five seconds at most) if the model is its; whether that helped."""
        if self.route.provider == "huggingface" and self.price is None:
            await router_catalogue.fetch(self.settings)
        return self.price is not None

    async def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        await self._connection.close()

    async def complete(
        self,
        messages: list[dict[str, Any]],
        tools: list[dict[str, Any]] | None,
        *,
        stream: bool,
        on_text: Callable[[str], None],
        on_discard: Callable[[str], None],
        on_notice: Callable[[str], None],
        max_tokens: int | None = None,
        tool_choice: str | None = None,
    ) -> Reply:
        """Ask the model for its next message.

        May be cancelled at any moment; the connection is closed at once.

        Args:
            messages: OpenAI messages, left as they are.
            tools: OpenAI tool schemas.
            stream: Ask for a stream; else `on_text` is never called.
            on_text: Gets each piece of text as it arrives.
            on_discard: Told why the text shown so far is void; the call goes on from its beginning.
            on_notice: Told of each wait and each repair.
            max_tokens: Longest answer in tokens; None leaves it to the provider.
            tool_choice: `auto`, `none` or `required`; None leaves it to the provider.

        Raises:
            ContextOverflow: The request is longer than the model's window.
            ModelError: The call failed for good; the text is for the person.
        """
        litellm = await load_litellm()
        if self.route.provider == "scripted":
            from .scripted.provider import register  # noqa: PLC0415 - imports litellm, for the demo alone

            register()
        run = _Run(self, on_text, on_discard, on_notice)
        while True:
            arguments = request_arguments(
                litellm,
                self.route,
                self.settings,
                messages,
                tools,
                stream=stream,
                effort=self.effort,
                thinking=self._thinking,
                images=self.takes_images,
                max_tokens=max_tokens,
                tool_choice=tool_choice,
            )
            started = time.monotonic()
            gathered = await run.attempt(litellm, arguments)
            if gathered is not None:
                return self._reply(gathered, started)

    def repair(self, failure: Failure) -> str | None:
        """Change what the provider refused about the request and say so, or None when nothing can be."""
        if failure.kind == "thinking" and self._thinking:
            self._thinking = False
            return "The provider refused earlier thinking blocks; they are left out from now on."
        if failure.kind == "effort" and self.effort:
            refused, self.effort = self.effort, next_lower(self.effort, failure.detail)
            instead = f"trying {self.effort!r}" if self.effort else "no effort is sent any more"
            return f"{self.model_id} refused reasoning effort {refused!r}; {instead}."
        return None

    def learn_window(self, tokens: int | None) -> None:
        """Keep the window a refusal named."""
        if tokens:
            self._learned_window = tokens

    def wire(self) -> Wire | None:
        """A connection for one attempt, for the routes that can be given one."""
        if not self.route.our_wire:
            return None
        # A local model reads a long prompt for minutes before its first byte.
        stall_s = self.settings.timeout_s if self.route.local else self.settings.stall_timeout_s
        return Wire(self._connection, self.settings, stall_s=stall_s)

    def _reply(self, gathered: Gatherer, started: float) -> Reply:
        message, malformed = finish_message(
            text="".join(gathered.text),
            reasoning="".join(gathered.reasoning),
            thinking_blocks=gathered.thinking_blocks,
            drafts=gathered.drafts,
        )
        reason = gathered.finish_reason or "stop"
        if gathered.drafts and reason == "stop":
            reason = "tool_calls"  # some servers say stop when they mean tool calls
        return Reply(
            message=message,
            finish_reason=reason,
            usage=gathered.usage,
            cost_usd=catalogue.cost(gathered.usage, self.price),
            latency_ms=round((time.monotonic() - started) * 1000),
            malformed=malformed,
        )


class _Run:
    """One call: its attempts so far and those who listen to it."""

    def __init__(
        self,
        client: ModelClient,
        on_text: Callable[[str], None],
        on_discard: Callable[[str], None],
        on_notice: Callable[[str], None],
    ) -> None:
        self._client = client
        self._on_text = on_text
        self._on_discard = on_discard
        self._on_notice = on_notice
        self._failed = 0
        self._shown = False

    async def attempt(self, litellm: Any, arguments: dict[str, Any]) -> Gatherer | None:
        """The answer, or None when the call is to be repeated.

        Raises:
            ModelError: It is not.
        """
        client, wire = self._client, self._client.wire()
        settings = client.settings
        try:
            async with asyncio.timeout(settings.timeout_s):
                return await attempt(litellm, arguments, wire, stall_s=self._stall_s, on_text=self._show)
        except AttemptFailed as error:
            cause: BaseException = error.cause
        except TimeoutError as error:
            cause = error
        finally:
            if wire is not None:
                await wire.close()
        effort_sent = sends_effort(client.route, client.effort)
        await self._recover(classify(cause, wire, effort_sent=effort_sent), cause)
        return None

    @property
    def _stall_s(self) -> float:
        """Longest silence between pieces where litellm reads the stream.

        OpenAI's reasoning models go to /responses that way, and think in silence.
        """
        settings = self._client.settings
        return settings.timeout_s if self._client.route.our_wire else settings.stall_timeout_s

    def _show(self, text: str) -> None:
        self._shown = True
        self._on_text(text)

    async def _recover(self, failure: Failure, cause: BaseException) -> None:
        """Return when the call is to be repeated; raise when it is not."""
        client = self._client
        repaired = client.repair(failure)
        if repaired is None:
            self._failed += 1
            if failure.kind not in PASSING or self._failed >= self._tries(failure):
                self._discard(failure)
                client.learn_window(failure.limit_tokens)
                raise self._final(failure) from cause
        self._discard(failure)
        if repaired is not None:
            self._on_notice(repaired)
            return
        wait_s = self._wait_s(failure)
        self._on_notice(
            f"{client.model_id}: {shown(failure.detail, client.route)} (attempt {self._failed} of "
            f"{self._tries(failure)}); next attempt in {wait_s:.0f} s."
        )
        await asyncio.sleep(wait_s)

    def _final(self, failure: Failure) -> ModelError:
        return error_for(failure, self._client.route, tries=self._failed)

    def _discard(self, failure: Failure) -> None:
        if self._shown:
            self._shown = False
            self._on_discard(shown(failure.detail, self._client.route))

    def _tries(self, failure: Failure) -> int:
        tries = self._client.settings.tries
        if failure.kind == "unreachable" and self._client.route.local:
            return min(tries, _LOCAL_UNREACHABLE_TRIES)
        return tries

    def _wait_s(self, failure: Failure) -> float:
        settings = self._client.settings
        if failure.retry_after_s is not None:
            return min(failure.retry_after_s, settings.retry_after_cap_s)
        base_s = settings.rate_limit_backoff_s if failure.kind == "rate_limit" else settings.backoff_s
        wait_s = float(base_s * 2 ** (self._failed - 1))
        if failure.kind == "unreachable" and self._client.route.local:
            wait_s = min(wait_s, 1.0)
        return wait_s * (1 + _JITTER * random.random())
