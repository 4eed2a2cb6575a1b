"""How a handler ends an attempt."""

import pickle

import pytest

from app.jobs.control_flow import Cancel, ControlFlow, JobTimeout, Permanent, RetryAfter, Snooze

EVERY = (
    Cancel("enough"),
    Cancel(),
    Permanent("no such user"),
    Snooze(5),
    Snooze(5, "office hours"),
    RetryAfter(2.5, "429"),
    JobTimeout(),
)


@pytest.mark.parametrize("outcome", EVERY, ids=repr)
def test_outcomes_survive_the_way_back_from_a_child(outcome: Exception) -> None:
    back = pickle.loads(pickle.dumps(outcome))
    assert type(back) is type(outcome)
    assert back.__dict__ == outcome.__dict__
    assert str(back) == str(outcome)


def test_the_text_of_an_outcome_is_its_reason() -> None:
    assert str(RetryAfter(2, "429 Too Many Requests")) == "429 Too Many Requests"
    assert str(Snooze(3)) == ""
    assert str(Permanent("gone")) == "gone"


@pytest.mark.parametrize("outcome", [Snooze, RetryAfter])
@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), 1e300, "soon"])
def test_a_wait_beyond_the_calendar_is_refused(outcome: type[ControlFlow], seconds: float) -> None:
    with pytest.raises(ValueError):
        outcome(seconds)


def test_a_timeout_needs_no_argument_since_the_interpreter_creates_it() -> None:
    assert str(JobTimeout()) == "the attempt ran past its time limit"
