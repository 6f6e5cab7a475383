"""What one headless invocation asks for, and which thread that means."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..configs.models import choose_model
from ..configs.settings import load_settings
from ..errors import UserError
from ..threads import ids, listing
from ..threads.opening import Opening

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..threads.store import Store
    from .headless import Verbosity

Output = Literal["text", "json", "stream-json"]
ApprovalMode = Literal["auto", "ask", "deny"]


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line asks for."""

    prompt: str | None = None
    model: str | None = None
    max_iterations: int | None = None
    stream: bool | None = None
    thread: str | None = None
    continue_last: bool = False
    resume: str | None = None
    """An id, or empty for the last thread; None: not asked to resume."""
    output: Output = "text"
    approve: ApprovalMode | None = None
    input: Literal["text", "stream-json"] = "text"
    max_cost: float | None = None
    cwd: Path | None = None
    config: Path | None = None
    verbosity: Verbosity = "normal"
    answer: dict[str, Any] | None = None
    """An answer to the waiting approval, as `ml-intern approve` makes it."""

    @property
    def chooses_thread(self) -> bool:
        """Whether an existing thread is meant."""
        return self.thread is not None or self.continue_last or self.resume is not None


def opening_for(request: Request, environ: Mapping[str, str], store: Store) -> Opening:
    """Which thread is meant, with the settings of the directory it works in."""
    here = (request.cwd or Path.cwd()).resolve()
    if not here.is_dir():
        raise UserError(f"{str(here)!r} is not a directory; give another --cwd.")
    thread_id, row = _thread(request, store, str(here))
    cwd = Path(row["cwd"]) if row else here
    if row and request.cwd and cwd != here:
        raise UserError(f"Thread {thread_id} works in {cwd}, not in {here}; leave --cwd away.")
    flags = {
        "model_name": request.model,
        "max_iterations": request.max_iterations,
        "stream": request.stream,
        "approval_mode": request.approve,
        "max_cost": request.max_cost,
    }
    if not cwd.is_dir():
        raise UserError(f"The directory of thread {thread_id}, {cwd}, is gone; put it back to go on with it.")
    loaded = load_settings(environ=environ, cwd=cwd, config_file=request.config, flags=flags)
    model_id = request.model or (row or {}).get("model") or choose_model(loaded.settings, loaded.env)
    return Opening(
        thread_id=thread_id,
        cwd=cwd,
        loaded=loaded,
        model_id=model_id,
        create=row is None,
        approval_mode=loaded.settings.approval_mode or ("ask" if request.prompt is None else "auto"),
        mode_given=request.approve is not None,
        headless=request.input != "stream-json",
        stream=loaded.settings.stream,
    )


def _thread(request: Request, store: Store, cwd: str) -> tuple[str, dict[str, Any] | None]:
    """Id of the thread that is meant, and its row when there is one."""
    if request.resume:
        thread_id = listing.resolve_id(store, request.resume)
    elif request.resume is not None or request.continue_last:
        thread_id = listing.last_thread_of(store, cwd)
    elif request.thread is not None:
        thread_id = ids.check_id(request.thread)
    else:
        return ids.new_id(), None
    return thread_id, listing.thread_row(store, thread_id)
