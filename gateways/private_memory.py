"""Keep the commands we run from reading this process: its environment and memory hold every key."""

from __future__ import annotations

import sys

_PR_SET_DUMPABLE = 4
"""See prctl(2)."""


def keep_memory_private() -> bool:
    """Let no process without special rights read our /proc entries or attach to us; False where impossible.

    Root with CAP_SYS_PTRACE, CAP_PERFMON or CAP_SYS_ADMIN still may. Whatever program a child runs is
    readable again from its exec on, by the kernel's rule, so that `threads.leftovers` recognises it.
    """
    if not sys.platform.startswith("linux"):
        return False
    import ctypes  # noqa: PLC0415 - 3 ms that only a run pays, where litellm needs it anyway

    return bool(ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) == 0)
