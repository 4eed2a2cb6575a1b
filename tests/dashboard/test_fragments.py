"""What a page that is left open asks for, again and again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import event
from werkzeug.test import TestResponse

from app import cache
from app.extensions import db
from tests import factories as make
from tests.dashboard.conftest import BUTTON, TICK

PAGES = ("/", "/jobs", "/jobs?status=failed", "/failures/dead-letters", "/queues", "/workers")


@pytest.mark.parametrize("url", PAGES)
def test_an_unchanged_region_is_a_304(client: FlaskClient, session: Any, url: str) -> None:
    make.failed_job()
    make.worker()
    first = client.get(url, headers=TICK)
    assert first.status_code == 200
    cache.forget()
    again = client.get(url, headers=TICK | {"If-None-Match": first.headers["ETag"]})
    assert again.status_code == 304
    assert again.data == b""


def test_passing_time_alone_is_not_a_change(client: FlaskClient, session: Any) -> None:
    job = make.failed_job()
    etag = client.get("/jobs", headers=TICK).headers["ETag"]
    # "2 min ago" becomes "5 min ago" in the browser by itself; the instants are the same.
    page = client.get("/jobs", headers=TICK).text
    assert f'datetime="{job.created_at:%Y-%m-%dT%H:%M:%S}' in page
    assert client.get("/jobs", headers=TICK | {"If-None-Match": etag}).status_code == 304


def test_a_change_is_a_200_with_another_tag(client: FlaskClient, session: Any) -> None:
    make.pending_job()
    first = client.get("/jobs", headers=TICK)
    job = make.pending_job()
    cache.forget()
    again = client.get("/jobs", headers=TICK | {"If-None-Match": first.headers["ETag"]})
    assert again.status_code == 200
    assert str(job.id) in again.text
    assert again.headers["ETag"] != first.headers["ETag"]


def test_only_a_refresh_gets_a_304(client: FlaskClient, session: Any) -> None:
    etag = client.get("/jobs", headers=TICK).headers["ETag"]
    assert client.get("/jobs", headers=BUTTON | {"If-None-Match": etag}).status_code == 200
    assert client.get("/jobs", headers={"If-None-Match": etag}).status_code == 200


def test_every_fragment_brings_counts_and_health(client: FlaskClient, session: Any) -> None:
    make.failed_job()
    for url in (*PAGES, "/pulse"):
        part = client.get(url, headers=TICK).text
        assert "<hx-partial hx-target=\"[data-count='nav-failures']\"" in part
        assert '<hx-partial hx-target="#health" hx-swap="outerMorph">' in part


def test_the_pulse_carries_no_region(client: FlaskClient) -> None:
    part = client.get("/pulse", headers=TICK | {"HX-Source": "div#pulse"})
    assert part.status_code == 200
    assert "<section" not in part.text
    assert "ETag" in part.headers


def test_a_refresh_of_another_tab_does_not_take_the_message(
    client: FlaskClient, session: Any, press: Callable[..., TestResponse]
) -> None:
    job = make.failed_job()
    press(f"/jobs/{job.id}/retry")
    assert "Retrying " not in client.get("/jobs", headers=TICK).text
    assert "Retrying " in client.get("/jobs", headers=BUTTON).text
    assert "Retrying " not in client.get("/jobs").text


def test_fifty_tabs_ask_the_database_for_statistics_once(app: Any, session: Any) -> None:
    make.failed_job()
    make.worker()
    statements: list[str] = []
    lock = threading.Lock()

    def note(conn: Any, cursor: Any, statement: str, *_: Any) -> None:
        with lock:
            statements.append(statement)

    engine = db.engine
    app.test_client().get("/pulse", headers=TICK)
    event.listen(engine, "before_cursor_execute", note)
    try:
        for _ in range(50):
            app.test_client().get("/pulse", headers=TICK)
    finally:
        event.remove(engine, "before_cursor_execute", note)
    # All within a second of the first one, whose answer they share.
    assert len([one for one in statements if "job_counters" in one]) <= 3
