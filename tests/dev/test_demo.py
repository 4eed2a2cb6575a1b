"""The demo as a client: what it waits out, and what it does not."""

from __future__ import annotations

import pytest

from app.dev import DevError, demo
from tests.support.http_server import Answer


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(demo, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(demo, "OUTAGE_SECONDS", 0.5)


def test_an_outage_is_retried_and_reported_once(http_server, capsys):
    counts = Answer(body=b'{"pending": 3}')
    http_server.script(counts, Answer(hang_up=True), Answer(503), Answer(429), counts)
    api = demo.Api(http_server.url)
    assert api.stats() == api.stats() == "pending 3"
    assert capsys.readouterr().out.count("Retrying") == 1
    assert len(http_server.requests) == 5


def test_a_long_outage_ends_the_demo(http_server):
    http_server.script(Answer(body=b"{}"), *[Answer(503)] * 100)
    api = demo.Api(http_server.url)
    api.stats()
    with pytest.raises(DevError, match="503"):
        api.stats()


@pytest.mark.parametrize("status", [503, 422])
def test_a_first_response_that_refuses_is_not_retried(http_server, status):
    http_server.script(Answer(status))
    with pytest.raises(DevError, match=str(status)):
        demo.Api(http_server.url).stats()
    assert len(http_server.requests) == 1


def test_a_refused_request_is_not_retried(http_server):
    http_server.script(Answer(body=b"{}"), Answer(422))
    api = demo.Api(http_server.url)
    api.stats()
    with pytest.raises(DevError, match="422"):
        api.stats()
    assert len(http_server.requests) == 2
