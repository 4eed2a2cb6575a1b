"""The wait after failed attempt n."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.jobs.backoff import Backoff, Policy, delay


def test_the_documented_delays() -> None:
    assert [delay(n, Backoff()) for n in range(1, 7)] == [2, 4, 8, 16, 32, 64]


def test_the_cap_holds_for_any_number_of_attempts() -> None:
    assert delay(12, Backoff(cap=60)) == 60
    assert delay(1_000_000, Backoff(cap=60)) == 60


def test_a_list_gives_each_wait_and_repeats_its_last() -> None:
    assert [delay(n, [1, 10, 60]) for n in range(1, 6)] == [1, 10, 60, 60, 60]


def test_a_function_is_called_with_the_attempt() -> None:
    assert delay(4, lambda attempt: attempt * 1.5) == 6.0


@pytest.mark.parametrize("answer", [-1, float("nan"), float("inf")])
def test_an_invalid_wait_from_a_function_is_refused(answer: float) -> None:
    with pytest.raises(ValueError):
        delay(1, lambda attempt: answer)


def test_jitter_shortens_by_up_to_its_share() -> None:
    policy = Backoff(jitter=0.5)
    assert delay(3, policy, roll=lambda: 0.0) == 8
    assert delay(3, policy, roll=lambda: 1.0) == 4


@given(
    st.integers(1, 10_000),
    st.builds(
        Backoff,
        base=st.floats(0.01, 100),
        cap=st.floats(0, 2_678_400),
        jitter=st.floats(0, 1),
    ),
)
def test_a_wait_is_never_negative_nor_over_the_cap(attempt: int, policy: Policy) -> None:
    assert isinstance(policy, Backoff)
    assert 0 <= delay(attempt, policy) <= policy.cap


@pytest.mark.parametrize("wrong", [{"base": 0}, {"cap": -1}, {"jitter": 1.5}])
def test_an_impossible_backoff_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        Backoff(**wrong)
