"""Compressed responses: which clients get them, and what they contain."""

from __future__ import annotations

import gzip

import pytest

from app import compression

GZIP = {"Accept-Encoding": "gzip, deflate, br"}
PAGES = (
    "/jobs",
    "/",
    "/nope",
    "/static/css/base.css",
    "/assets/dashboard.css",
    "/api/openapi.json",
    "/api/docs",
)


@pytest.mark.parametrize("path", PAGES)
def test_compressible_responses_are_compressed_without_loss(client, path, wait_until):
    def pair():
        # Pages change with the time and with counts that are kept for a moment.
        plain, small = client.get(path), client.get(path, headers=GZIP)
        size = len(gzip.decompress(small.data))
        return (plain, small) if size == pytest.approx(len(plain.data), rel=0.02) else None

    plain, small = wait_until(pair)
    assert small.headers["Content-Encoding"] == "gzip"
    assert int(small.headers["Content-Length"]) == len(small.data) < len(plain.data) / 2
    assert small.status_code == plain.status_code
    assert small.headers["Content-Type"] == plain.headers["Content-Type"]
    for answer in (plain, small):
        assert "Accept-Encoding" in answer.headers["Vary"]
    assert "Content-Encoding" not in plain.headers
    assert small.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "accepted", ["", "identity", "br", "gzip;q=0", "*;q=0", "deflate, gzip;q=0.0"]
)
def test_a_client_that_does_not_accept_gzip_gets_the_plain_response(client, accepted):
    answer = client.get("/jobs", headers={"Accept-Encoding": accepted})
    assert "Content-Encoding" not in answer.headers
    assert answer.text.startswith("<!doctype html>")


@pytest.mark.parametrize("accepted", ["gzip", "GZIP", "*", "br;q=1, gzip;q=0.1"])
def test_a_client_that_accepts_gzip_gets_it(client, accepted):
    answer = client.get("/jobs", headers={"Accept-Encoding": accepted})
    assert answer.headers["Content-Encoding"] == "gzip"


def test_short_responses_are_not_compressed(client):
    for path in ("/api/jobs/stats", "/health"):
        answer = client.get(path, headers=GZIP)
        assert "Content-Encoding" not in answer.headers
        assert "Accept-Encoding" in answer.headers["Vary"]


def test_a_head_response_is_not_compressed(client):
    answer = client.head("/jobs", headers=GZIP)
    assert answer.data == b""
    assert "Content-Encoding" not in answer.headers


@pytest.mark.parametrize("path", ["/static/css/base.css", "/assets/dashboard.css"])
def test_the_etag_of_a_file_is_valid_with_and_without_compression(client, path):
    tags = {client.get(path, headers=headers).headers["ETag"] for headers in ({}, GZIP)}
    assert len(tags) == 2
    for tag in tags:
        for headers in ({}, GZIP):
            answer = client.get(path, headers={**headers, "If-None-Match": tag})
            assert answer.status_code == 304
            assert answer.data == b""
            assert "Accept-Encoding" in answer.headers["Vary"]


def test_a_range_of_a_file_is_not_compressed(client):
    answer = client.get("/static/css/base.css", headers={**GZIP, "Range": "bytes=0-99"})
    assert answer.status_code == 206
    assert "Content-Encoding" not in answer.headers
    assert len(answer.data) == 100


def test_the_length_of_a_page_does_not_reveal_its_token(client):
    # Padded by a random length: the same page is never reliably as long as before.
    lengths = {len(client.get("/nope", headers=GZIP).data) for _ in range(12)}
    assert len(lengths) > 3


def test_a_file_is_compressed_once():
    compression._compressed_file.cache_clear()
    for _ in range(3):
        assert gzip.decompress(compression._compressed_file(b"abc" * 1000)) == b"abc" * 1000
    assert compression._compressed_file.cache_info().misses == 1


@pytest.mark.parametrize("padding", [0, 1, 99])
def test_any_padding_is_valid_gzip(padding):
    body = bytes(range(256)) * 50
    assert gzip.decompress(compression.gzip(body, 1, padding=padding)) == body
