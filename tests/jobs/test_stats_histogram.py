"""Percentiles out of buckets, against the values themselves."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.jobs.statistics.histogram import percentile_ms

#: One bucket up or down: what the scale can resolve.
FACTOR = 2 ** (1 / 4)

microseconds = st.floats(1, 1e13)


def bucket(value: float) -> int:
    return math.floor(4 * math.log2(value))


@given(st.lists(microseconds, min_size=1, max_size=200), st.floats(0, 1))
def test_a_percentile_is_within_a_bucket_of_the_value_at_that_rank(values, share):
    values.sort()
    estimate = percentile_ms(Counter(bucket(value) for value in values), share) * 1000
    at_rank = values[max(math.ceil(share * len(values)) - 1, 0)]
    assert at_rank / FACTOR * 0.999 <= estimate <= at_rank * FACTOR * 1.001


@given(st.dictionaries(st.integers(0, 170), st.integers(0, 1000), min_size=1))
def test_percentiles_never_fall_as_the_share_grows(buckets):
    found = [percentile_ms(buckets, share / 20) for share in range(21)]
    if not any(buckets.values()):
        assert set(found) == {None}
    else:
        assert found == sorted(found)


def test_without_values_there_is_no_percentile():
    assert percentile_ms({}, 0.5) is None
    assert percentile_ms({3: 0}, 0.5) is None


def test_one_second_is_about_one_second():
    assert percentile_ms({bucket(1e6): 10}, 0.5) == pytest.approx(1000, rel=0.2)
