"""PostgreSQL or Redis is away, or a search is too large: the dashboard says so in words."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from app import cache, config, create_app
from app.jobs.listing import walk
from tests import factories as make
from tests.dashboard.conftest import BUTTON, TICK
from tests.support.services import PrivateServices


def test_without_postgresql_every_page_is_a_503_that_says_so(private: PrivateServices) -> None:
    app = create_app(config.load(private.env()))
    client = app.test_client()
    assert client.get("/").status_code == 200
    private.stop_postgres()
    cache.forget()
    for url in ("/", "/jobs", "/failures/dead-letters", "/queues", "/workers", "/pulse"):
        page = client.get(url)
        assert page.status_code == 503, url
        assert "The database is not reachable" in page.text
        assert ">Down</a>" in page.text.replace("\n", "")
        tick = client.get(url, headers=TICK)
        assert (tick.status_code, tick.text) == (503, "")
    # A person who pressed a button sees a message.
    response = client.get("/jobs", headers=BUTTON)
    assert 'hx-swap-oob="innerHTML:#flash"' in response.text
    private.start_postgres()
    assert client.get("/").status_code == 200


def test_without_redis_every_page_works_with_a_warning(private: PrivateServices) -> None:
    client = create_app(config.load(private.env())).test_client()
    private.stop_redis()
    cache.forget()
    page = client.get("/")
    assert page.status_code == 200
    assert "Redis is not reachable." in page.text
    assert "New jobs are stored and will start when Redis is back." in page.text


def test_a_search_that_stopped_never_claims_to_have_found_nothing(
    client: FlaskClient, session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walk, "CANDIDATES", 2)
    old = make.completed_job(type="needle", payload={"x": "pin"})
    for _ in range(6):
        make.completed_job()
    page = client.get("/jobs?q=pin").text
    assert "No matches yet." in page
    assert "No results." not in page
    assert "Searched back to" in page
    while "No matches yet." in page:
        older = page.partition("Search older jobs")[0].rpartition('href="')[2].partition('"')[0]
        page = client.get(older.replace("&amp;", "&")).text
    assert str(old.id) in page
