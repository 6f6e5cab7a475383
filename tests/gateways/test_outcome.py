from __future__ import annotations

import pytest

from ml_intern.gateways.outcome import EXIT_CODES, Outcome, Status, gravest


@pytest.mark.parametrize(
    ("status", "code"), [("done", 0), ("error", 1), ("limit", 3), ("waiting", 4), ("interrupted", 130)]
)
def test_every_status_has_its_exit_code(status: Status, code: int) -> None:
    assert Outcome(status).exit_code == code
    assert len(EXIT_CODES) == 5


@pytest.mark.parametrize(
    ("codes", "code"),
    [((), 0), ((0, 3), 3), ((3, 4), 4), ((4, 1), 1), ((1, 130), 130), ((130, 2, 0), 2), ((0, 0), 0)],
)
def test_the_gravest_of_several_codes_wins(codes: tuple[int, ...], code: int) -> None:
    assert gravest(*codes) == code


def test_the_object_has_the_keys_of_the_contract() -> None:
    assert set(Outcome("done").as_dict()) == {
        "thread_id",
        "status",
        "final_response",
        "usage",
        "cost_usd",
        "unpriced_calls",
        "iterations",
        "approvals",
        "error",
    }
