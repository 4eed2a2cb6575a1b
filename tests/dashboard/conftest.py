"""What the tests of the dashboard share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient
from itsdangerous import URLSafeTimedSerializer
from werkzeug.test import TestResponse

from app import cache

#: As htmx sends them for a periodic look, a row's button and the filter form.
TICK = {"HX-Request": "true", "HX-Request-Type": "partial", "HX-Source": "section#live"}
BUTTON = {"HX-Request": "true", "HX-Request-Type": "partial", "HX-Source": "form"}
FILTER = {"HX-Request": "true", "HX-Request-Type": "partial", "HX-Source": "form#filter"}


@pytest.fixture(autouse=True)
def _nothing_remembered() -> Iterator[None]:
    """What a process remembers for its tabs belongs to one test only."""
    cache.forget()
    yield
    cache.forget()


@pytest.fixture
def token(app: Any, client: FlaskClient) -> str:
    """The CSRF token of the client's session, as a form of ours would hold it."""
    with client.session_transaction() as kept:
        kept["csrf_token"] = "a session"
    return str(URLSafeTimedSerializer(app.secret_key, salt="wtf-csrf-token").dumps("a session"))


@pytest.fixture
def press(client: FlaskClient, token: str) -> Callable[..., TestResponse]:
    """Sends one of our forms: ``press("/jobs/…/retry")``, with ``part=True`` as htmx does."""

    def send(url: str, *, part: bool = False, page: str = "/jobs", **fields: Any) -> TestResponse:
        headers = {"Referer": f"http://localhost{page}"}
        if part:
            headers |= BUTTON | {"HX-Current-URL": f"http://localhost{page}"}
        return client.post(url, data={"csrf_token": token, **fields}, headers=headers)

    return send
