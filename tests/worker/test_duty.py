"""When a duty is due: a rule over a few values."""

from __future__ import annotations

import pytest

from app.worker.sweeper.duty import Duty


def duty(**fields: object) -> Duty:
    """Ran at 100, runs every 2 seconds."""
    return Duty("test", 2.0, lambda: 0, **{"ran_at": 100.0, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "now", "leads", "is_due"),
    [
        ({}, 101.9, True, False),
        ({}, 102.0, True, True),
        ({}, 200.0, False, False),
        ({"is_of_leader": False}, 101.9, False, False),
        ({"is_of_leader": False}, 102.0, False, True),
        ({"idle_interval": 30.0}, 102.0, True, False),
        ({"idle_interval": 30.0}, 130.0, True, True),
        ({"idle_interval": 30.0}, 130.0, False, False),
        ({"idle_interval": 30.0, "has_work": True}, 101.9, True, False),
        ({"idle_interval": 30.0, "has_work": True}, 102.0, True, True),
        ({"idle_interval": 30.0, "has_work": True}, 102.0, False, False),
        ({"is_hurried": True}, 100.0, True, True),
        ({"idle_interval": 30.0, "is_hurried": True}, 100.0, False, True),
    ],
)
def test_when_it_is_due(fields: dict[str, object], now: float, leads: bool, is_due: bool) -> None:
    assert duty(**fields).is_due(now, leads=leads) is is_due


def test_a_new_one_is_due_at_once() -> None:
    assert Duty("test", 60.0, lambda: 0, idle_interval=600.0).is_due(0.0, leads=True)


def test_work_and_hurry_are_cleared_when_it_begins() -> None:
    begun = duty(idle_interval=30.0, has_work=True, is_hurried=True)

    begun.begin(103.0)

    assert (begun.has_work, begun.is_hurried, begun.ran_at) == (False, False, 103.0)
