"""Bodies that are late, too large, cut off or missing, over real connections."""

from __future__ import annotations

import json
import time
import urllib.request

import pytest

pytestmark = pytest.mark.journey

FORM = "Content-Type: application/x-www-form-urlencoded"
JSON = "Content-Type: application/json"
CHUNKED = "Transfer-Encoding: chunked"
TOKEN = "Authorization: Bearer ops-token-0123456789"
JOB = b'{"type":"echo"}'


def is_healthy(server, seconds: float = 2) -> bool:
    """On a connection of its own."""
    with urllib.request.urlopen(f"{server.url}/health", timeout=seconds) as response:
        return response.status == 200


@pytest.mark.long
def test_slow_bodies_block_no_other_request_and_get_408(server, wire, stored):
    slow = [
        wire(server, 20).post("/sign-in", "name=a", FORM, "Content-Length: 100"),
        wire(server, 20).post("/jobs/selected", "3\r\nabc\r\n", FORM, CHUNKED),
        wire(server, 20).post("/api/jobs", b'{"type"', JSON, "Content-Length: 15"),
        wire(server, 20).post("/api/jobs/bulk", b"{" * 70_000, JSON, "Content-Length: 100000"),
        wire(server, 20).post("/nope", "", "Content-Length: 1"),
        wire(server, 20).send("GET /jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n"),
        wire(server, 20).send(
            "PUT /api/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n"
        ),
    ]
    started = time.monotonic()
    for _ in range(20):
        assert is_healthy(server)
    assert time.monotonic() - started < 5
    for one in slow:
        status, headers, body = one.answer()
        assert (status, headers["connection"]) == (408, "close")
        assert headers["x-content-type-options"] == "nosniff"
        assert b"10 seconds" in body
        assert one.is_over()
    assert stored() == []


@pytest.mark.parametrize(
    ("path", "limit"),
    [
        ("/sign-in", 8 * 1024),
        ("/jobs/new", 1024 * 1024),
        ("/nope", 1024 * 1024),
        ("/api/jobs", 1024 * 1024),
        ("/api/jobs/bulk", 16 * 1024 * 1024),
    ],
)
def test_a_body_over_its_limit_is_refused_before_it_is_read(server, wire, path, limit):
    for more in ((), ("Expect: 100-continue",)):
        one = wire(server).post(path, b"", JSON, f"Content-Length: {limit + 1}", *more)
        status, headers, body = one.answer()
        assert (status, headers["connection"]) == (413, "close")
        assert str(limit).encode() in body
        if path.startswith("/api/"):
            assert json.loads(body)["code"] == "body_too_large"


def test_a_body_without_a_length_has_the_same_limit(server, wire):
    one = wire(server).post("/sign-in", b"", FORM, CHUNKED)
    one.send(b"2001\r\n" + b"a" * 0x2001 + b"\r\n0\r\n\r\n")
    assert one.answer()[0] == 413
    one = wire(server).post("/sign-in", b"", FORM, CHUNKED)
    one.send(b"2000\r\n" + b"a" * 0x2000 + b"\r\n0\r\n\r\n")
    assert one.answer()[0] != 413


def test_a_client_that_sends_everything_first_can_read_the_refusal(server, wire):
    one = wire(server).post("/sign-in", b"a" * 8_000_000, FORM, "Content-Length: 8000000")
    assert one.answer()[0] == 413


@pytest.mark.parametrize(
    ("headers", "sent"),
    [
        (["Content-Length: 100"], JOB),
        (["Content-Length: 100000"], JOB + b" " * 70_000),
        ([CHUNKED], b"f\r\n" + JOB + b"\r\n"),
        ([CHUNKED], b"f\r\n" + JOB),
    ],
)
def test_a_body_that_is_cut_off_stores_nothing(server, wire, stored, headers, sent):
    one = wire(server).post("/api/jobs", sent, JSON, *headers).end()
    status, _, body = one.answer()
    assert (status, json.loads(body)["code"]) == (400, "body_incomplete")
    assert stored() == []


@pytest.mark.parametrize(
    "sent", [b"zz\r\n", b"-1\r\n", b"f\r\n" + JOB + b"\r\n0\r\nX-More: 1\r\n\r\n"]
)
def test_invalid_chunked_encoding_is_refused(server, wire, stored, sent):
    one = wire(server).post("/api/jobs", b"f\r\n" + JOB + b"\r\n" + sent, JSON, CHUNKED)
    assert one.answer()[0] == 400
    assert one.is_over()
    assert stored() == []


@pytest.mark.parametrize(
    "headers",
    [
        ["Content-Length: 5", "Content-Length: 15"],
        ["Transfer-Encoding: gzip"],
        ["Transfer-Encoding: gzip, chunked"],
        ["Transfer-Encoding: chunked, gzip"],
        ["Transfer-Encoding: identity", "Content-Length: 15"],
    ],
)
def test_invalid_lengths_and_encodings_create_no_job(server, wire, stored, headers):
    one = wire(server).post("/api/jobs", JOB, JSON, *headers)
    one.end()
    assert one.answer()[0] in (400, 501)
    assert stored() == []


def test_a_length_with_chunked_encoding_is_ignored_and_ends_the_connection(server, wire, stored):
    one = wire(server).post(
        "/api/jobs", b"f\r\n" + JOB + b"\r\n0\r\n\r\n", JSON, CHUNKED, "Content-Length: 3"
    )
    assert one.answer()[0] in (201, 400)
    assert len(stored()) <= 1


def test_100_continue_is_sent_for_an_acceptable_body(server, wire, stored):
    one = wire(server).post("/api/jobs", b"", JSON, "Expect: 100-continue", "Content-Length: 15")
    assert one.answer()[0] == 100
    assert one.send(JOB).answer()[0] == 201
    assert len(stored()) == 1


def test_responses_on_a_connection_are_in_the_order_of_the_requests(server, wire, stored):
    one = wire(server)
    get = b"GET /api/jobs/stats HTTP/1.1\r\nHost: localhost\r\n\r\n"
    post = (
        b"POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n"
        + JOB
    )
    one.send(get + post + get.replace(b"GET", b"HEAD") + post)
    assert one.answer()[0] == 200
    assert one.answer()[0] == 201
    status, headers, _ = one.answer(is_head=True)
    assert (status, int(headers["content-length"]) > 0) == (200, True)
    assert one.answer()[0] == 201
    assert len(stored()) == 2


def test_the_body_of_an_anonymous_request_is_not_read(guarded, wire):
    for path, kind in (("/api/jobs", JSON), ("/api/jobs/bulk", JSON), ("/api/nope", JSON)):
        one = wire(guarded).post(path, b"", kind, "Content-Length: 1000")
        status, headers, _ = one.answer()
        assert status in (401, 404)
        assert headers["connection"] == "close"
    for path in ("/jobs/selected", "/jobs/all", "/queues/x/pause", "/nope"):
        one = wire(guarded).post(path, b"", FORM, "Content-Length: 1000")
        assert 300 <= one.answer()[0] < 500


def test_the_body_of_a_request_with_credentials_is_read(guarded, wire, stored):
    one = wire(guarded).post("/api/jobs", JOB, JSON, TOKEN, "Content-Length: 15")
    assert one.answer()[0] == 201
    # The connection is there for the next one.
    one.post("/api/jobs", JOB, JSON, TOKEN, "Content-Length: 15")
    assert one.answer()[0] == 201
    assert len(stored()) == 2


def test_headers_with_underscores_are_ignored(server, wire):
    one = wire(server).post("/api/jobs", JOB, JSON, "Content_Length: 3", "Content-Length: 15")
    assert one.answer()[0] == 201


def test_a_non_ascii_key_is_refused_and_not_dropped(server, wire, stored):
    one = wire(server).post("/api/jobs", JOB, JSON, "Content-Length: 15", "Idempotency-Key: ä")
    assert one.answer()[0] == 422
    assert stored() == []


def test_a_stop_does_not_wait_for_slow_bodies(web, wire):
    server = web()
    slow = wire(server).post("/sign-in", "name=a", FORM, "Content-Length: 100")
    assert is_healthy(server)
    started = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - started < 5
    assert slow.answer()[0] == 503
