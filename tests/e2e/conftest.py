from __future__ import annotations

from ml_intern.tests.threads.world import worlds

__all__ = ["worlds"]
