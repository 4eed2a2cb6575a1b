"""A limit's numbers, and the key of a job: what is accepted, and the sentence of each refusal."""

import pickle
from collections.abc import Iterator
from typing import Any

import pytest

from app.errors import ConfigError
from app.jobs import Limit, Rate, Throttle, registry
from app.jobs.limits import keys
from app.jobs.limits.definition import Definition, complaints, declared
from app.jobs.testing import temporary_types


@pytest.fixture(autouse=True)
def job() -> Iterator[Any]:
    with temporary_types() as decorator:
        yield decorator


def test_a_limit_keeps_its_numbers() -> None:
    stripe = Limit("stripe", by="customer.id", concurrency=20, rate=Rate(100), key_concurrency=2)
    assert (stripe.name, stripe.by, stripe.concurrency) == ("stripe", "customer.id", 20)
    assert stripe.rate == Rate(100, per=1, burst=5)
    assert (stripe.key_concurrency, stripe.key_rate, stripe.is_per_key) == (2, None, True)


@pytest.mark.parametrize(
    ("rate", "burst"),
    [
        (Rate(100), 5),
        (Rate(101), 6),
        (Rate(1), 1),
        (Rate(20), 1),
        (Rate(30, per=60), 1),
        (Rate(1000, per=0.5), 100),
        (Rate(100, burst=50), 50),
    ],
    ids=str,
)
def test_without_a_burst_starts_are_evenly_spaced(rate: Rate, burst: int) -> None:
    assert rate.burst == burst


NUMBER = "must be a whole number from 1 to 100000; to stop everything, pause the limit."
BY_FIELD_RULE = (
    "must be the name of a field of the payload, such as customerId or customer.id,"
    " of at most 200 characters."
)
KEY_NUMBER = "must be a whole number from 1 to 100000; to stop a key, pause it."


@pytest.mark.parametrize(
    ("given", "field", "text"),
    [
        ({}, "concurrency", "give concurrency, rate, perKey or by; else there is nothing to limit."),
        ({"concurrency": 0}, "concurrency", NUMBER),
        ({"concurrency": "5"}, "concurrency", NUMBER),
        ({"concurrency": True}, "concurrency", NUMBER),
        ({"concurrency": 5.0}, "concurrency", NUMBER),
        ({"key_concurrency": 0}, "perKey.concurrency", KEY_NUMBER),
        (
            {"rate": Rate(100, burst=4)},
            "rate.burst",
            "must be at least 5 for 100 per second: tokens are given out twenty times a second.",
        ),
        (
            {"key_rate": Rate(1000, per=2, burst=3)},
            "perKey.rate.burst",
            "must be at least 25 for 1000 per 2 seconds: tokens are given out twenty times a second.",
        ),
        ({"rate": Rate(5, burst=0)}, "rate.burst", "must be a whole number from 1 to 1000000."),
        ({"rate": Rate(0)}, "rate.count", "must be a whole number from 1 to 1000000."),
        ({"rate": Rate(1, per=0)}, "rate.perSeconds", "must be more than 0 and at most 86400 seconds."),
        (
            {"rate": Rate(1, per=float("nan"))},
            "rate.perSeconds",
            "must be more than 0 and at most 86400 seconds.",
        ),
        ({"rate": Rate(1000, per=0.001)}, "rate.count", "must be at most 100000 per second."),
        ({"rate": 5}, "rate", "must be a Rate, such as Rate(100, per=1)."),
        (
            {"by": "items.0"},
            "by",
            BY_FIELD_RULE,
        ),
    ],
    ids=str,
)  # fmt: skip
def test_numbers_out_of_range_are_refused(given: dict[str, Any], field: str, text: str) -> None:
    assert dict(complaints(Definition("stripe", **given))) == {field: text}


def test_a_limit_may_only_make_keys_take_turns() -> None:
    assert not list(complaints(Definition("fair", by="customerId")))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("schedule", "schedule is kept for schedules."),
        ("a b", "must be 1 to 100 letters, digits, '.', '_', ':' or '-', the first a letter or digit."),
    ],
)  # fmt: skip
def test_some_names_are_refused(name: str, text: str) -> None:
    assert dict(complaints(Definition(name, concurrency=1))) == {"name": text}


def test_code_hears_of_its_own_arguments() -> None:
    with pytest.raises(ConfigError) as refusal:
        Limit("stripe", key_concurrency=0)
    assert str(refusal.value) == f"Limit('stripe'): key_concurrency {KEY_NUMBER}"
    with pytest.raises(ConfigError) as refusal:
        Limit("stripe")
    assert str(refusal.value) == (
        "Limit('stripe'): give concurrency, rate, key_concurrency, key_rate or by; else there is nothing to limit."
    )


def test_one_name_has_one_definition_in_a_process() -> None:
    Limit("stripe", concurrency=5)
    assert Limit("stripe", concurrency=5) == Limit("stripe", concurrency=5)
    with pytest.raises(ConfigError) as refusal:
        Limit("stripe", concurrency=6)
    assert str(refusal.value) == (
        "The limit 'stripe' is defined twice with different numbers: Limit('stripe', concurrency=5) and"
        " Limit('stripe', concurrency=6); define it once and import it, or rename one of them."
    )
    assert [limit.concurrency for limit in declared() if limit.name == "stripe"] == [5]


def test_several_types_share_a_limit(job: Any) -> None:
    stripe = Limit("stripe", concurrency=5)
    job("test.charge", limit=stripe)(lambda payload: None)
    job("test.refund", limit=stripe)(lambda payload: None)
    assert registry.get("test.charge").limit is registry.get("test.refund").limit is stripe


def test_a_type_takes_no_name_for_its_limit(job: Any) -> None:
    with pytest.raises(ConfigError, match="limit is 'stripe'; it is a Limit, such as"):
        job("test.charge", limit="stripe")(lambda payload: None)


BY_FIELD: dict[str, Any] = {"limit": "stripe", "by": "customerId", "is_per_key": True}
BY_KEY: dict[str, Any] = {"limit": "stripe", "by": None, "is_per_key": True}
FREE: dict[str, Any] = {"limit": None, "by": None, "is_per_key": False}


@pytest.mark.parametrize(
    ("facts", "payload", "limit_key", "expected"),
    [
        (BY_FIELD, {"customerId": "a"}, None, {}),
        (BY_FIELD, {"customerId": 42}, None, {}),
        (BY_FIELD, {"customerId": 4.5}, None, {}),
        (BY_FIELD, {}, "a", {}),
        (BY_FIELD, {}, None,
         {"payload.customerId": "is required: limit stripe takes its key from it."}),
        (BY_FIELD, {"customerId": None}, None,
         {"payload.customerId": "is required: limit stripe takes its key from it."}),
        (BY_FIELD, {"customerId": {"id": 1}}, None,
         {"payload.customerId": "must be text or a number: limit stripe takes its key from it."}),
        (BY_FIELD, {"customerId": True}, None,
         {"payload.customerId": "must be text or a number: limit stripe takes its key from it."}),
        (BY_FIELD, {"customerId": ""}, None,
         {"payload.customerId": "must be 1 to 200 characters long: limit stripe takes its key from it."}),
        ({**BY_FIELD, "by": "customer.id"}, {"customer": "a"}, None,
         {"payload.customer.id": "is required: limit stripe takes its key from it."}),
        ({**BY_FIELD, "by": "customer.id"}, {"customer": {"id": 7}}, None, {}),
        (BY_KEY, {}, "a", {}),
        (BY_KEY, {}, None,
         {"limit_key": "is required: limit stripe works by key and type charge names no field for it."}),
        ({**BY_KEY, "is_per_key": False}, {}, None, {}),
        (FREE, {}, None, {}),
        (FREE, {}, "a",
         {"limit_key": "has no use: neither type charge nor queue default is under a limit."}),
    ],
)  # fmt: skip
def test_the_key_of_a_job(
    facts: dict[str, Any], payload: dict[str, Any], limit_key: str | None, expected: dict[str, str]
) -> None:
    refusals = keys.complaints(
        payload=payload, limit_key=limit_key, type="charge", queue="default", **facts
    )
    assert dict(refusals) == expected


@pytest.mark.parametrize("throttle", [Throttle(30), Throttle(5, scope="limit", reason="429")])
def test_a_throttle_survives_the_way_back_from_a_child(throttle: Throttle) -> None:
    assert pickle.loads(pickle.dumps(throttle)).__dict__ == throttle.__dict__


@pytest.mark.parametrize(("seconds", "scope"), [(-1, "key"), (float("inf"), "key"), (5, "queue")])
def test_a_throttle_is_of_a_key_or_a_limit(seconds: float, scope: str) -> None:
    with pytest.raises(ValueError):
        Throttle(seconds, scope)
