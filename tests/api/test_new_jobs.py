"""The short way of reading a new job agrees with its marshmallow shape, whatever comes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app import json_values
from app.api.http import request
from app.api.resources import parse_jobs
from app.api.schemas.new_jobs import BULK, BULK_ENVELOPE, NEW_JOB
from app.errors import JobQueueError, ValidationFailed
from app.json_values import MalformedJson


@pytest.fixture(autouse=True)
def context(app: Any) -> Iterator[None]:
    """The application registers the job types, and the limits are looked up in its database."""
    with app.app_context():
        yield


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.just([]),
    st.just({}),
    st.just("2030-01-01T00:00:00Z"),
)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=3))
PAYLOADS = st.recursive(
    st.dictionaries(st.text(max_size=3), SCALARS, max_size=3),
    lambda inner: st.dictionaries(
        st.text(max_size=3), st.one_of(inner, st.lists(inner, max_size=2))
    ),
    max_leaves=8,
)
PLAUSIBLE = {
    "type": st.sampled_from(["echo", "send-email", "nope", "", "x" * 101]),
    "payload": PAYLOADS | st.just({"to": "a@b.cz", "subject": "Hi"}),
    "queue": st.from_regex(r"[A-Za-z0-9._: -]{0,5}\n?", fullmatch=True)
    | st.sampled_from(["q" * 100, "q" * 101]),
    "priority": st.integers(-102, 102),
    "maxAttempts": st.integers(-1, 102),
    "delay": st.integers(-1, 400_000_000) | st.floats(-1, 4e8),
    "nextRunAt": st.sampled_from(
        [
            "2030-01-01T00:00:00Z",
            "2030-01-01T00:00:00",
            "2030-01-01t00:00:00.5+02:00",
            "2101-01-01T00:00:00Z",
            "",
        ]
    ),
    "timeoutSeconds": st.floats(-1, 700_000),
    "expiresAt": st.sampled_from(["2031-01-01T00:00:00Z", "2001-01-01T00:00:00Z"]),
    "limitKey": st.text(max_size=3) | st.sampled_from(["k" * 200, "k" * 201, "a\0"]),
    "uniqueKey": st.text(max_size=3) | st.sampled_from(["k" * 200, "k" * 201, "a\0"]),
    "tags": st.lists(st.text(max_size=2) | st.just("t" * 65), max_size=4)
    | st.just([str(n) for n in range(20)])
    | st.just([str(n) for n in range(21)]),
}
OPTIONAL = {
    name: st.one_of(values, JUNK) if name == "payload" else st.one_of(values, values, values, JUNK)
    for name, values in PLAUSIBLE.items()
    if name != "type"
}
BODIES = st.one_of(
    st.fixed_dictionaries(
        {"type": st.one_of(st.just("echo"), PLAUSIBLE["type"])}, optional=OPTIONAL
    ),
    st.fixed_dictionaries({}, optional={"type": JUNK, "extra": JUNK, **OPTIONAL}),
    JUNK,
)


def outcome(read: Any, body: Any) -> Any:
    """The job as JSON, or the errors. (NaN is not equal to itself; the door never lets it in.)"""
    try:
        return read(body)
    except JobQueueError as error:
        return (type(error), error.errors)


@settings(max_examples=1500, deadline=None, suppress_health_check=list(HealthCheck))
@given(BODIES)
def test_both_parsers_agree(body):
    assert outcome(parse_jobs.read_one, body) == outcome(parse_jobs._by_schema, body)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(BODIES, max_size=4) | JUNK)
def test_both_parsers_agree_on_a_bulk(jobs):
    """What the envelope and the single reading let in is what BulkSchema lets in, but for types and payloads."""
    body = {"jobs": jobs}
    ours = outcome(parse_jobs.read_many, body)
    expected = outcome(lambda body: request.load(BULK, body), body)
    if isinstance(expected, tuple):
        assert isinstance(ours, tuple)
        assert set(ours[1]) >= set(expected[1])
    elif isinstance(ours, tuple):
        assert all(path.split(".")[2] in ("type", "payload") for path in ours[1])


def test_the_fast_parser_has_the_bounds_of_the_schema():
    assert BULK_ENVELOPE.fields["jobs"].validators == BULK.fields["jobs"].validators or [
        vars(check) for check in BULK_ENVELOPE.fields["jobs"].validators
    ] == [vars(check) for check in BULK.fields["jobs"].validators]


ORDINARY = [
    {"type": "echo"},
    {"type": "echo", "payload": {"a": [1, {"b": 2}]}},
    {"type": "send-email", "payload": {"to": "a@b.cz", "subject": "Hi"}},
    {
        "type": "echo",
        "queue": "q",
        "priority": 1,
        "maxAttempts": 3,
        "uniqueKey": "k",
        "tags": ["a"],
    },
    {"type": "echo", "delay": 5},
    {"type": "echo", "nextRunAt": "2030-01-01T00:00:00Z"},
]


@pytest.mark.parametrize("body", ORDINARY, ids=str)
def test_ordinary_bodies_use_the_fast_parser(body):
    assert parse_jobs._plain(body) is not None


def test_every_field_of_the_fast_parser_is_in_the_schema():
    assert set(parse_jobs._PLAIN) <= {field.data_key for field in NEW_JOB.fields.values()}


# JSON


@settings(max_examples=500, deadline=None)
@given(
    st.recursive(
        SCALARS | st.floats(allow_nan=False, allow_infinity=False),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_json_that_can_be_stored_is_read_as_the_library_reads_it(value):
    text = json.dumps(value)
    try:
        assert json_values.parse(text.encode()) == json.loads(text)
    except ValidationFailed:
        assert "\\u0000" in text or "\\ud" in text


NOT_PLAIN = ("NaN", "-Infinity", "1e999", "9" * 4301)


@pytest.mark.parametrize("number", NOT_PLAIN)
def test_truncated_text_after_a_rejected_number(client, number):
    answer = client.post("/api/jobs", data=f"[{number}", content_type="application/json")
    assert (answer.status_code, answer.json["code"]) == (400, "malformed_json")
    deep = "[" * 5000 + number
    answer = client.post("/api/jobs", data=deep, content_type="application/json")
    assert answer.status_code == 422


@settings(max_examples=500, deadline=None)
@given(
    st.binary(max_size=40) | st.text('[]{}":,\\u0d8 1eE+-.NaInfity', max_size=40).map(str.encode)
)
def test_any_input_is_read_or_rejected(raw):
    try:
        value = json_values.parse(raw)
    except (MalformedJson, ValidationFailed):
        return
    json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    assert "\\u0000" not in json.dumps(value).replace("\\\\", "")
