"""What is kept of a result: everything JSON can hold as it is, the rest as text, and never an exception."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from app.worker import results

MIB = 1024 * 1024


@pytest.mark.parametrize(
    "value",
    [{"a": [1, 2.5, None, True]}, "text", 0, "", [], False, "äöü 🚀", 10**300, {"1": {}}, "\\u0000 \\ud800", "😀" * 99],
)  # fmt: skip
def test_values_that_json_can_hold_are_kept(value: Any) -> None:
    text, warning = results.encode(value, MIB)

    assert json.loads(text) == value
    assert warning is None


class Rude:
    """Nothing can be had of it."""

    def __str__(self) -> str:
        raise SystemExit

    __repr__ = __str__


class RudeMapping(Mapping[str, int]):
    """It can't be read."""

    def __getitem__(self, key: str) -> int:
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        raise KeyboardInterrupt

    def __len__(self) -> int:
        return 1


def circular() -> list[Any]:
    value: list[Any] = [1]
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("value", "kept", "named"),
    [
        ({"at": datetime(2026, 1, 2, tzinfo=UTC)}, {"at": "2026-01-02T00:00:00+00:00"}, "result.at (datetime)"),
        ([date(2026, 1, 2)], ["2026-01-02"], "result[0] (date)"),
        (Decimal("1.10"), "1.10", "result (Decimal)"),
        ({3}, [3], "result (set)"),
        (b"abc", "abc", "result (bytes)"),
        (b"\xff", "\ufffd", "result (bytes)"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001", "result (UUID)"),
        (float("nan"), "NaN", "not finite"),
        ([float("-inf")], ["-Infinity"], "not finite"),
        ("a\0b", "a\ufffdb", "NUL"),
        ({"a\0": 1}, {"a\ufffd": 1}, "NUL"),
        ("\ud800x", "\ufffdx", "surrogate"),
        ({(1, 2): 3}, {"(1, 2)": 3}, "a key of result (tuple)"),
        (OrderedDict(x={1}), {"x": [1]}, "result.x (set)"),
        pytest.param(Rude(), "<Rude>", "result (Rude)", id="rude"),
        pytest.param(10**5000, "<int>", "result (int)", id="huge"),
    ],
)  # fmt: skip
def test_values_that_json_cannot_hold_become_text(value: Any, kept: Any, named: str) -> None:
    text, warning = results.encode(value, MIB)

    assert json.loads(text) == kept
    assert named in (warning or "")


@pytest.mark.parametrize(
    "value", [RudeMapping(), circular(), [circular()] * 50], ids=["rude", "circle", "circles"]
)
def test_nothing_raises(value: Any) -> None:
    text, warning = results.encode(value, MIB)

    json.loads(text)
    assert warning


def test_a_pair_of_surrogates_is_one_character() -> None:
    assert results.encode("\ud83d\ude00", MIB)[0] == '"\\ud83d\\ude00"'


@pytest.mark.parametrize("value", ["x" * 5000, "\0" * 5000, '"' * 5000, "😀" * 5000, {"x": ["y"] * 5000}, {1: {2}, "big": "x" * 5000}])  # fmt: skip
@pytest.mark.parametrize("limit", [64, 1000])
def test_results_that_are_too_large_are_cut(value: Any, limit: int) -> None:
    text, warning = results.encode(value, limit)

    assert len(text) <= limit
    assert json.loads(text).endswith("…")
    assert "MAX_RESULT_BYTES" in (warning or "")


def test_a_warning_names_the_first_few_and_counts_the_rest() -> None:
    warning = results.encode([{n} for n in range(100)], MIB)[1]

    assert "result[0] (set)" in (warning or "")
    assert "and 95 more" in (warning or "")
