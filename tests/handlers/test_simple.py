"""echo, sleep, fail."""

import threading
from typing import Any

import pytest

from app.errors import ValidationFailed
from app.handlers.trying_out import FailedOnPurpose
from app.jobs.control_flow import Cancel, JobTimeout, Permanent
from app.jobs.testing import make_context, run_handler


def refused(name: str, payload: dict[str, Any]) -> dict[Any, Any]:
    with pytest.raises(ValidationFailed) as caught:
        run_handler(name, payload)
    return caught.value.errors or {}


@pytest.mark.parametrize("payload", [{}, {"a": [1, {"b": None}], "ž": "x" * 1000}])
def test_echo_returns_its_payload(payload: dict[str, Any]) -> None:
    assert run_handler("echo", payload) == payload


def test_sleep_shows_its_progress() -> None:
    ctx = make_context()
    assert run_handler("sleep", {"seconds": 0.05}, context=ctx) == {"seconds": 0.05}
    progress, _ = ctx.drain()
    assert progress is not None
    assert 0 <= progress["percent"] < 100


def test_sleep_can_take_zero_seconds() -> None:
    assert run_handler("sleep", {"seconds": 0}) == {"seconds": 0}


def test_sleep_wakes_up_when_cancelled() -> None:
    ctx = make_context()
    threading.Timer(0.1, ctx.request_cancel).start()
    with pytest.raises(Cancel):
        run_handler("sleep", {"seconds": 60}, context=ctx)


def test_sleep_wakes_up_at_its_deadline() -> None:
    with pytest.raises(JobTimeout):
        run_handler("sleep", {"seconds": 60}, timeout_seconds=0.1)


@pytest.mark.parametrize(
    "seconds",
    ["1", True, None, -1, 1e9, 10**400, float("nan"), [1]],
    ids=lambda seconds: repr(seconds)[:30],
)
def test_sleep_needs_a_number_of_seconds(seconds: Any) -> None:
    (message,) = refused("sleep", {"seconds": seconds})["payload.seconds"]
    assert message.endswith("give a number of seconds from 0 to 86400, such as 1.5")


def test_fail_fails_the_given_times_and_then_succeeds() -> None:
    payload = {"times": 2, "message": "no luck"}
    for attempt in (1, 2):
        with pytest.raises(FailedOnPurpose, match=r"^no luck$"):
            run_handler("fail", payload, attempt=attempt)
    assert run_handler("fail", payload, attempt=3) == {"attempt": 3}


def test_fail_fails_always_without_a_number() -> None:
    with pytest.raises(FailedOnPurpose, match="on purpose"):
        run_handler("fail", {}, attempt=99)


def test_fail_can_be_permanent() -> None:
    with pytest.raises(Permanent, match=r"^never$"):
        run_handler("fail", {"permanent": True, "message": "never", "times": 0})


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        ({"times": "2"}, "times"),
        ({"times": 1.5}, "times"),
        ({"times": -1}, "times"),
        ({"times": True}, "times"),
        ({"permanent": "yes"}, "permanent"),
        ({"permanent": 1}, "permanent"),
        ({"message": 1}, "message"),
        ({"message": "x" * 1001}, "message"),
        ({"time": 1}, "time"),
    ],
)
def test_fail_refuses_invalid_fields(payload: dict[str, Any], field: str) -> None:
    assert list(refused("fail", payload)) == [f"payload.{field}"]


def test_the_error_for_an_unknown_field_lists_the_known_fields() -> None:
    assert refused("sleep", {"seconds": 1, "minutes": 2}) == {
        "payload.minutes": ["is not a field of this type; the fields are: seconds"]
    }
