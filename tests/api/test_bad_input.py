"""Everything a client can get wrong: its own 4xx, the field named, nothing stored."""

from __future__ import annotations

import json
import time

import pytest

from tests import factories
from tests.api.conftest import JSON, NOWHERE, Api, deep

PLACES = ["/api/jobs", "/api/jobs/bulk"]

# What is no JSON object at all.

MALFORMED = {
    "empty": b"",
    "only spaces": b"  ",
    "truncated": b'{"type": "echo", "payload": {"a"',
    "unclosed string": b'{"type": "ech',
    "trailing comma": b'{"type": "echo",}',
    "trailing text": b'{"type": "echo"} x',
    "two values": b'{"type": "echo"}{"type": "echo"}',
    "single quotes": b"{'type': 'echo'}",
    "a form": b"type=echo",
    "raw control character": b'{"type": "ec\x00ho"}',
    "not UTF-8": b'{"type": "echo", "payload": {"a": "\xff\xfe"}}',
    "an encoded surrogate": b'{"type": "echo", "payload": {"a": "\xed\xa0\x80"}}',
    "UTF-16": '{"type": "echo"}'.encode("utf-16"),
    "byte order mark": b'\xef\xbb\xbf{"type": "echo"}',
    "half an escape": b'{"type": "echo", "payload": {"a": "\\u12"}}',
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
@pytest.mark.parametrize("path", PLACES)
def test_malformed_json_is_400(api: Api, stored, path, body):
    response = api.post(path, data=body, headers=JSON)
    assert (response.status_code, response.json["code"]) == (400, "malformed_json")
    assert list(response.json["errors"]) == ["body"]
    assert stored() == []


def test_malformed_json_is_reported_with_its_position(api: Api):
    response = api.post("/api/jobs", data=b'{"type": "echo",\n "payload": }', headers=JSON)
    assert "line 2 column 13" in response.json["message"]


@pytest.mark.parametrize("body", ["[]", '[{"type":"echo"}]', '"echo"', "1", "null", "true", "1e5"])
@pytest.mark.parametrize("path", [*PLACES, NOWHERE])
def test_a_body_that_is_not_an_object_is_422(api: Api, stored, path, body):
    method = "PATCH" if path == NOWHERE else "POST"
    response = api.send(method, path, data=body, headers=JSON)
    assert response.status_code == 422
    many = ': {"jobs": [{"type": "echo"}, …]}' if path.endswith("/bulk") else ""
    assert response.json["errors"] == {"body": [f"must be a JSON object{many}."]}
    assert stored() == []


@pytest.mark.parametrize(
    ("body", "place", "message"),
    [
        ('{"now": true}', "now", "is unknown; send no body, or {}."),
        ("[]", "body", "must be left out, or be {}."),
    ],
)
def test_a_body_for_an_operation_without_one_is_rejected_with_a_hint(
    api: Api, body, place, message
):
    response = api.post(f"{NOWHERE}/retry", data=body, headers=JSON)
    assert response.status_code == 422
    assert response.json["errors"] == {place: [message]}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "multipart/form-data; boundary=x"},
        {"Content-Type": "text/json"},
        {"Content-Type": "nonsense"},
        {**JSON, "Content-Encoding": "gzip"},
    ],
    ids=str,
)
@pytest.mark.parametrize("path", [*PLACES, NOWHERE])
def test_another_content_type_is_415(api: Api, stored, path, headers):
    method = "PATCH" if path == NOWHERE else "POST"
    response = api.send(method, path, data=b'{"type":"echo"}', headers=headers)
    assert (response.status_code, response.json["code"]) == (415, "unsupported_media_type")
    assert stored() == []


# Fields of a new job, one wrong value each: alone, in a bulk, and (where it has the field) in a PATCH.

NEW = {
    "type missing": ({}, "type"),
    "type null": ({"type": None}, "type"),
    "type empty": ({"type": ""}, "type"),
    "type too long": ({"type": "x" * 101}, "type"),
    "type not text": ({"type": 7}, "type"),
    "type a list": ({"type": ["echo"]}, "type"),
    "type an object": ({"type": {"echo": 1}}, "type"),
    "type unknown": ({"type": "nope"}, "type"),
    "type with spaces": ({"type": " echo "}, "type"),
    "an unknown field": ({"type": "echo", "prio": 1}, "prio"),
    "an unknown field in snake case": ({"type": "echo", "unique_key": "k"}, "unique_key"),
    "a field that is ours": ({"type": "echo", "status": "completed"}, "status"),
    "an id": ({"type": "echo", "id": NOWHERE[-36:]}, "id"),
    "a field without a name": ({"type": "echo", "": 1}, ""),
    "delay with nextRunAt": ({"type": "echo", "delay": 1, "nextRunAt": "2030-01-01T00:00:00Z"}, "delay"),
    "delay negative": ({"type": "echo", "delay": -1}, "delay"),
    "delay text": ({"type": "echo", "delay": "5"}, "delay"),
    "delay true": ({"type": "echo", "delay": True}, "delay"),
    "delay too long": ({"type": "echo", "delay": 315_360_001}, "delay"),
    "delay astronomic": ({"type": "echo", "delay": 10**400}, "delay"),
    "timeout zero": ({"type": "echo", "timeoutSeconds": 0}, "timeoutSeconds"),
    "timeout negative": ({"type": "echo", "timeoutSeconds": -0.1}, "timeoutSeconds"),
    "timeout too long": ({"type": "echo", "timeoutSeconds": 604_801}, "timeoutSeconds"),
    "timeout text": ({"type": "echo", "timeoutSeconds": "60"}, "timeoutSeconds"),
    "expired": ({"type": "echo", "expiresAt": "2020-01-01T00:00:00Z"}, "expiresAt"),
    "expires before it starts": (
        {"type": "echo", "nextRunAt": "2031-01-01T00:00:00Z", "expiresAt": "2030-01-01T00:00:00Z"},
        "expiresAt",
    ),
    "expires naive": ({"type": "echo", "expiresAt": "2030-01-01T00:00:00"}, "expiresAt"),
    "uniqueKey empty": ({"type": "echo", "uniqueKey": ""}, "uniqueKey"),
    "uniqueKey too long": ({"type": "echo", "uniqueKey": "k" * 201}, "uniqueKey"),
    "uniqueKey a number": ({"type": "echo", "uniqueKey": 5}, "uniqueKey"),
}  # fmt: skip
COMMON = {
    "payload null": ({"payload": None}, "payload"),
    "payload a list": ({"payload": []}, "payload"),
    "payload text": ({"payload": "{}"}, "payload"),
    "payload a number": ({"payload": 1}, "payload"),
    "payload nested 101 deep": ({"payload": json.loads(deep(101))}, "payload"),
    "queue empty": ({"queue": ""}, "queue"),
    "queue null": ({"queue": None}, "queue"),
    "queue with a space": ({"queue": "a b"}, "queue"),
    "queue with a slash": ({"queue": "a/b"}, "queue"),
    "queue with a line": ({"queue": "a\n"}, "queue"),
    "queue not ASCII": ({"queue": "ž"}, "queue"),
    "queue too long": ({"queue": "q" * 101}, "queue"),
    "queue a number": ({"queue": 1}, "queue"),
    "priority above": ({"priority": 101}, "priority"),
    "priority below": ({"priority": -101}, "priority"),
    "priority a fraction": ({"priority": 1.5}, "priority"),
    "priority 1e300": ({"priority": 1e300}, "priority"),
    "priority text": ({"priority": "1"}, "priority"),
    "priority true": ({"priority": True}, "priority"),
    "priority null": ({"priority": None}, "priority"),
    "priority huge": ({"priority": 10**30}, "priority"),
    "maxAttempts zero": ({"maxAttempts": 0}, "maxAttempts"),
    "maxAttempts negative": ({"maxAttempts": -1}, "maxAttempts"),
    "maxAttempts above": ({"maxAttempts": 101}, "maxAttempts"),
    "maxAttempts a fraction": ({"maxAttempts": 2.5}, "maxAttempts"),
    "maxAttempts beyond 32 bits": ({"maxAttempts": 2**31}, "maxAttempts"),
    "nextRunAt naive": ({"nextRunAt": "2030-01-01T00:00:00"}, "nextRunAt"),
    "nextRunAt a date": ({"nextRunAt": "2030-01-01"}, "nextRunAt"),
    "nextRunAt a number": ({"nextRunAt": 1893456000}, "nextRunAt"),
    "nextRunAt words": ({"nextRunAt": "tomorrow"}, "nextRunAt"),
    "nextRunAt basic format": ({"nextRunAt": "20300101T000000Z"}, "nextRunAt"),
    "nextRunAt no such day": ({"nextRunAt": "2030-02-30T00:00:00Z"}, "nextRunAt"),
    "nextRunAt no such hour": ({"nextRunAt": "2030-01-01T25:00:00Z"}, "nextRunAt"),
    "nextRunAt year 1": ({"nextRunAt": "0001-01-01T00:00:00+14:00"}, "nextRunAt"),
    "nextRunAt year 0": ({"nextRunAt": "0000-01-01T00:00:00Z"}, "nextRunAt"),
    "nextRunAt year 9999": ({"nextRunAt": "9999-12-31T23:59:59-14:00"}, "nextRunAt"),
    "nextRunAt year 12030": ({"nextRunAt": "12030-01-01T00:00:00Z"}, "nextRunAt"),
    "nextRunAt too early": ({"nextRunAt": "1999-12-31T23:59:59Z"}, "nextRunAt"),
    "nextRunAt too late": ({"nextRunAt": "2100-01-01T00:00:01Z"}, "nextRunAt"),
    "nextRunAt other digits": ({"nextRunAt": "２０30-01-01T00:00:00Z"}, "nextRunAt"),
    "tags text": ({"tags": "a"}, "tags"),
    "tags null": ({"tags": None}, "tags"),
    "tags an object": ({"tags": {"a": 1}}, "tags"),
    "tags with a number": ({"tags": ["a", 1]}, "tags.1"),
    "tags with an empty one": ({"tags": [""]}, "tags.0"),
    "tags with a long one": ({"tags": ["a", "b", "t" * 65]}, "tags.2"),
    "tags twice": ({"tags": ["a", "a"]}, "tags"),
    "too many tags": ({"tags": [str(n) for n in range(21)]}, "tags"),
}
CREATES = {
    **NEW,
    **{name: ({"type": "echo", **body}, field) for name, (body, field) in COMMON.items()},
}


@pytest.mark.parametrize(("body", "field"), CREATES.values(), ids=CREATES)
def test_a_wrong_field_is_422_by_name(api: Api, stored, body, field):
    response = api.post("/api/jobs", body)
    assert response.status_code == 422
    assert list(response.json["errors"]) == [field]
    assert stored() == []


@pytest.mark.parametrize(("body", "field"), CREATES.values(), ids=CREATES)
def test_a_wrong_field_in_a_bulk_is_422_by_index(api: Api, stored, body, field):
    response = api.post("/api/jobs/bulk", {"jobs": [{"type": "echo"}, body, {"type": "echo"}]})
    assert response.status_code == 422
    assert list(response.json["errors"]) == [f"jobs.1.{field}"]
    assert stored() == []


EDITS = {
    **COMMON,
    "nothing": ({}, "body"),
    "status unknown": ({"status": "done"}, "status"),
    "status null": ({"status": None}, "status"),
    "status a view": ({"status": "scheduled"}, "status"),
    "status a list": ({"status": ["cancelled"]}, "status"),
    "type": ({"type": "sleep"}, "type"),
    "id": ({"id": NOWHERE[-36:]}, "id"),
    "attempts": ({"attempts": 0}, "attempts"),
    "uniqueKey": ({"uniqueKey": "k"}, "uniqueKey"),
    "createdAt": ({"createdAt": "2030-01-01T00:00:00Z"}, "createdAt"),
}


@pytest.mark.parametrize(("body", "field"), EDITS.values(), ids=EDITS)
def test_a_wrong_field_in_a_patch_is_422_and_changes_nothing(api: Api, have, stored, body, field):
    job_id = have(factories.pending_job)
    before = stored()
    response = api.patch(f"/api/jobs/{job_id}", body)
    assert response.status_code == 422
    assert list(response.json["errors"]) == [field]
    assert stored() == before


def test_all_invalid_fields_are_named(api: Api):
    response = api.post("/api/jobs", {"type": 1, "priority": 101, "x": 1})
    assert set(response.json["errors"]) == {"type", "priority", "x"}
    assert "(and 2 more)" in response.json["message"]


# What JSON can say and PostgreSQL can't hold.

UNSTORABLE = {
    "NUL": ('"a\\u0000b"', ""),
    "NUL in capitals": ('"\\U0000"'.replace("U", "u"), ""),
    "a high surrogate": ('"\\ud800"', ""),
    "a low surrogate": ('"\\uDC00 x"', ""),
    "surrogates the wrong way round": ('"\\udc00\\ud800"', ""),
    "NaN": ("NaN", ""),
    "Infinity": ("Infinity", ""),
    "-Infinity": ("-Infinity", ""),
    "1e400": ("1e400", ""),
    "-1e999999": ("-1e999999", ""),
    "an integer of 10,000 digits": ("9" * 10_000, ""),
    "a negative integer of 10,000 digits": ("-" + "9" * 10_000, ""),
    "deep inside": ('{"x": [1, {"y": "\\u0000"}]}', ".x.1.y"),
    "a key with NUL": ('{"\\u0000": 1}', ""),
    "a key with a surrogate": ('{"k\\ud800": 1}', ""),
}


@pytest.mark.parametrize(("text", "inner"), UNSTORABLE.values(), ids=UNSTORABLE)
def test_unstorable_values_are_422_by_path(api: Api, stored, text, inner):
    response = api.post(
        "/api/jobs", data=f'{{"type":"echo","payload":{{"a":{text}}}}}', headers=JSON
    )
    assert response.status_code == 422
    assert list(response.json["errors"]) == [f"payload.a{inner}"]
    assert stored() == []


@pytest.mark.parametrize(("text", "inner"), UNSTORABLE.values(), ids=UNSTORABLE)
def test_unstorable_values_in_a_bulk_are_422_by_index_and_path(api: Api, stored, text, inner):
    bad = f'{{"type":"echo","payload":{{"a":{text}}}}}'
    response = api.post(
        "/api/jobs/bulk", data=f'{{"jobs":[{{"type":"echo"}},{bad}]}}', headers=JSON
    )
    assert response.status_code == 422
    assert list(response.json["errors"]) == [f"jobs.1.payload.a{inner}"]
    assert stored() == []


@pytest.mark.parametrize(("text", "inner"), UNSTORABLE.values(), ids=UNSTORABLE)
def test_unstorable_values_in_a_patch_are_422(api: Api, have, stored, text, inner):
    job_id = have(factories.pending_job)
    before = stored()
    response = api.patch(f"/api/jobs/{job_id}", data=f'{{"payload":{{"a":{text}}}}}', headers=JSON)
    assert response.status_code == 422
    assert list(response.json["errors"]) == [f"payload.a{inner}"]
    assert stored() == before


@pytest.mark.parametrize("field", ["type", "queue", "uniqueKey", "nextRunAt"])
@pytest.mark.parametrize("text", ["\\u0000", "a\\ud800"])
def test_unstorable_text_in_any_field_is_422(api: Api, stored, field, text):
    body = {"type": "echo"} | {field: "HERE"}
    response = api.post("/api/jobs", data=json.dumps(body).replace("HERE", text), headers=JSON)
    assert response.status_code == 422
    assert list(response.json["errors"]) == [field]
    assert stored() == []


def test_unstorable_tags_and_names_are_422(api: Api, stored):
    for body, field in [
        (b'{"type":"echo","tags":["a","\\u0000"]}', "tags.1"),
        (b'{"type":"echo","x\\ud800":1}', "body"),
    ]:
        response = api.post("/api/jobs", data=body, headers=JSON)
        assert (response.status_code, list(response.json["errors"])) == (422, [field])
    assert stored() == []


def test_pairs_of_surrogates_and_escaped_backslashes_are_fine(api: Api):
    text = b'{"type":"echo","payload":{"horse":"\\ud83d\\udc0e","not an escape":"\\\\u0000 \\\\ud800"}}'
    response = api.post("/api/jobs", data=text, headers=JSON)
    assert response.status_code == 201
    assert response.json["payload"] == {"horse": "🐎", "not an escape": "\\u0000 \\ud800"}


def test_an_integer_of_4300_digits_is_stored_and_read(api: Api):
    text = "9" * 4300
    response = api.post(
        "/api/jobs", data=f'{{"type":"echo","payload":{{"n":{text}}}}}', headers=JSON
    )
    assert response.status_code == 201
    assert text.encode() in api.get(f"/api/jobs/{response.json['id']}").data


@pytest.mark.parametrize("levels", [101, 900, 1100, 50_000])
def test_deep_nesting_is_422_naming_the_field(api: Api, stored, levels):
    response = api.post(
        "/api/jobs", data=f'{{"type":"echo","payload":{deep(levels)}}}', headers=JSON
    )
    assert response.status_code == 422
    assert list(response.json["errors"]) == ["payload"]
    text = f'{{"jobs":[{{"type":"echo"}},{{"type":"echo","payload":{deep(levels)}}}]}}'
    response = api.post("/api/jobs/bulk", data=text, headers=JSON)
    assert response.status_code == 422
    assert list(response.json["errors"]) == ["jobs.1.payload"]
    assert stored() == []


@pytest.mark.parametrize("body", ["[" * 50_000, "[" * 50_000 + "]" * 50_000, '{"a":' * 50_000])
def test_deep_nesting_of_nothing_is_refused(api: Api, stored, body):
    response = api.post("/api/jobs", data=body, headers=JSON)
    assert response.status_code in (400, 422)
    assert stored() == []


def test_a_deep_unknown_field_is_refused(api: Api, stored):
    response = api.post("/api/jobs", data=f'{{"type":"echo","x":{deep(500)}}}', headers=JSON)
    assert (response.status_code, list(response.json["errors"])) == (422, ["x"])
    assert stored() == []


# Sizes


def test_a_body_over_the_limit_is_413(api: Api, stored):
    limit = api.app.extensions["settings"].max_body_bytes
    head, tail = b'{"type":"echo","payload":{"a":"', b'"}}'
    fits = head + b"x" * (limit - len(head) - len(tail)) + tail
    assert api.post("/api/jobs", data=fits, headers=JSON).status_code == 201
    response = api.post("/api/jobs", data=fits + b" ", headers=JSON)
    assert (response.status_code, response.json["code"]) == (413, "body_too_large")
    assert len(stored()) == 1


def test_a_bulk_request_has_its_own_larger_limit(api: Api, stored):
    settings = api.app.extensions["settings"]
    jobs = [{"type": "echo", "payload": {"a": "x" * settings.max_body_bytes}}]
    assert api.post("/api/jobs/bulk", {"jobs": jobs}).status_code == 201
    response = api.post("/api/jobs/bulk", data=b" " * (settings.max_bulk_bytes + 1), headers=JSON)
    assert (response.status_code, response.json["code"]) == (413, "body_too_large")
    assert len(stored()) == 1


@pytest.mark.parametrize("path", ["retry", "cancel"])
def test_verbs_take_no_body(api: Api, have, stored, path):
    job_id = have(factories.failed_job)
    before = stored()
    response = api.post(f"/api/jobs/{job_id}/{path}", {"force": True})
    assert (response.status_code, list(response.json["errors"])) == (422, ["force"])
    assert api.post(f"/api/jobs/{job_id}/{path}", data=b"{", headers=JSON).status_code == 400
    assert api.post(f"/api/jobs/{job_id}/{path}", data=b"x").status_code == 415
    assert stored() == before


def test_verbs_take_an_empty_object(api: Api, have):
    assert api.post(f"/api/jobs/{have(factories.failed_job)}/retry", {}).status_code == 200


# Bulks


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "jobs"),
        ({"jobs": None}, "jobs"),
        ({"jobs": {}}, "jobs"),
        ({"jobs": "x"}, "jobs"),
        ({"jobs": []}, "jobs"),
        ({"jobs": [{"type": "echo"}] * 10_001}, "jobs"),
        ({"jobs": [{"type": "echo"}], "atomic": False}, "atomic"),
        ({"jobs": [{"type": "echo"}, None]}, "jobs.1"),
        ({"jobs": [{"type": "echo"}, "echo"]}, "jobs.1"),
        ({"jobs": [[]]}, "jobs.0"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_wrong_bulk_is_422(api: Api, stored, body, field):
    response = api.post("/api/jobs/bulk", body)
    assert (response.status_code, list(response.json["errors"])) == (422, [field])
    assert stored() == []


def test_one_bad_job_in_thousands_is_named_and_none_is_stored(api: Api, stored):
    jobs = [{"type": "echo", "payload": {"n": n}} for n in range(5000)]
    jobs[4321] = {"type": "echo", "priority": 1000}
    response = api.post("/api/jobs/bulk", {"jobs": jobs})
    assert response.status_code == 422
    assert response.json["errors"] == {
        "jobs.4321.priority": ["must be a whole number from -100 to 100."]
    }
    assert stored() == []


def test_thousands_of_invalid_jobs_are_rejected_quickly_with_a_short_response(api: Api, stored):
    started = time.monotonic()
    response = api.post("/api/jobs/bulk", {"jobs": [{"type": "echo", "x": 1}] * 10_000})
    assert time.monotonic() - started < 5
    assert response.status_code == 422
    assert len(response.json["errors"]) == 100
    assert stored() == []
