"""One measured figure, what it is held against, and the table of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

SCALES = {"s": (1.0, "s"), "ms": (1e3, "ms"), "MB": (1e-6, "MB")}
"""Shown unit -> factor from seconds or bytes, and its name."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A median beside the median of its floor. Seconds or bytes."""

    name: str
    unit: str
    """How it is shown: s, ms or MB."""
    floor: float | None = None
    """None: there is nothing to compare with, or it could not be measured."""
    ours: float | None = None
    times: float = 0.0
    """How many floors ours may take …"""
    plus: float = 0.0
    """… and how much more."""
    failure: str = ""
    """Why there is no figure."""

    @property
    def limit(self) -> float:
        """The most that ours may be."""
        return (self.floor or 0.0) * self.times + self.plus

    @property
    def ratio(self) -> float | None:
        """Ours in floors."""
        return self.ours / self.floor if self.ours is not None and self.floor else None

    @property
    def ok(self) -> bool:
        """Measured, and within its limit."""
        return not self.failure and self.ours is not None and self.ours <= self.limit

    def as_dict(self) -> dict[str, Any]:
        """What `--json` writes."""
        return {**asdict(self), "limit": self.limit, "ratio": self.ratio, "ok": self.ok}


def figure(
    name: str,
    unit: str,
    ours: Sequence[float],
    floor: Sequence[float] = (),
    *,
    times: float = 0.0,
    plus: float = 0.0,
) -> Figure:
    """A figure from repeated measurements of both sides."""
    return Figure(name, unit, median(floor) if floor else None, median(ours), times, plus)


def heading() -> str:
    """The first line of the table."""
    return f"{'figure':<44} {'floor':>10} {'ours':>10} {'ratio':>7}   {'must reach':<22} ok"


def row(result: Figure) -> str:
    """One line of the table."""
    if result.failure:
        return f"{result.name:<44} failed: {result.failure}"
    ratio = f"{result.ratio:.2f}x" if result.ratio is not None else "-"
    must = " + ".join(
        part
        for part in (
            f"{result.times:g}x" if result.times else "",
            _shown(result.plus, result.unit) if result.plus else "",
        )
        if part
    )
    must = f"<= {must} = {_shown(result.limit, result.unit)}" if result.times else f"<= {must}"
    floor, ours = _shown(result.floor, result.unit), _shown(result.ours, result.unit)
    return f"{result.name:<44} {floor:>10} {ours:>10} {ratio:>7}   {must:<22} {'yes' if result.ok else 'NO'}"


def _shown(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    factor, name = SCALES[unit]
    return f"{value * factor:.3g} {name}"
