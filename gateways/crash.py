"""What a person sees of a bug: one line and where the details are."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

from ..configs.home import ml_intern_home, open_private
from ..events import now
from .redaction import redact, secret_values

if TYPE_CHECKING:
    from collections.abc import Mapping


def report(error: BaseException, environ: Mapping[str, str]) -> str:
    """Append the traceback to the log and return the line to print."""
    line = f"internal error ({type(error).__name__}: {error})"
    details = redact("".join(traceback.format_exception(error)), secret_values(environ))
    path = ml_intern_home(environ) / "logs" / "crash.log"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open_private(path, "a") as log:
            log.write(f"--- {now()}\n{details}\n")
    except OSError:
        return f"{line}; the details could not be written to {path}."
    return f"{line}; details are in {path}. Nothing stored was lost: go on with -r."
