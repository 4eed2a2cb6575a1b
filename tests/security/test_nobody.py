"""Senders without valid credentials: no role, no layout around an error page, no accidental sign-in attempt."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text

from app import cache
from app.extensions import db
from app.jobs import pauses
from app.security import actor, current, may
from tests import factories
from tests.security.conftest import PASSWORDS

INSIDE = ("data-count", "payroll-secret", "Queues", "Job types", "Audit", "data-live", "/audit")


@pytest.fixture
def inside(closed: Any, session: Any) -> None:
    """A paused queue whose name no stranger may learn."""
    factories.pending_job(queue="payroll-secret")
    pauses.pause_queue(session, "payroll-secret", by="ada")
    session.commit()
    cache.forget()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/nope"),
        ("HEAD", "/nope"),
        ("POST", "/nope"),
        ("DELETE", "/jobs"),
        ("POST", "/jobs"),
        ("PUT", "/"),
        ("POST", "/queues/x/pause"),
        ("POST", "/jobs/selected"),
        ("POST", "/jobs/all"),
        ("POST", "/sign-in"),
        ("DELETE", "/sign-in"),
        ("POST", "/sign-out"),
        ("GET", "/static/nope.css"),
        ("GET", "/assets/nope.css"),
        ("GET", "/jobs/not-a-uuid"),
        ("PROPFIND", "/"),
        ("OPTIONS", "/jobs"),
        ("OPTIONS", "/nope"),
    ],
)
def test_error_pages_reveal_nothing_without_authentication(
    closed: Any, inside: None, method: str, path: str
) -> None:
    for headers in (
        {},
        {"Authorization": "Bearer wrong"},
        {"Cookie": "session=forged"},
        {"HX-Request-Type": "partial"},
    ):
        client = closed.test_client(use_cookies=False)
        answer = client.open(path, method=method, headers=headers)
        assert not [word for word in INSIDE if word in answer.text], answer.text
        assert answer.status_code in (200, 303, 400, 401, 404, 405, 422)


@pytest.mark.parametrize("path", ["/queues/x/pause", "/jobs/selected", "/jobs/all"])
def test_authentication_comes_before_the_csrf_check(closed: Any, path: str) -> None:
    """A form is read for the CSRF check: not before it is known who sends it."""

    class Body:
        reads = 0

        def read(self, *_: Any) -> bytes:
            self.reads += 1
            return b""

    body = Body()
    answer = closed.test_client().post(
        path,
        environ_overrides={"wsgi.input": body, "CONTENT_LENGTH": "100"},
        content_type="application/x-www-form-urlencoded",
    )
    assert (answer.status_code, body.reads) == (303, 0)


def test_error_pages_show_the_layout_to_people_who_are_signed_in(closed: Any, sign_in: Any) -> None:
    page = sign_in("eve").get("/nope")
    assert (page.status_code, "data-count" in page.text) == (404, True)
    assert ">Audit<" not in page.text


def test_error_pages_of_an_open_server_reveal_nothing_to_strangers(app: Any) -> None:
    near = app.test_client().get("/nope")
    assert (near.status_code, "data-count" in near.text) == (404, True)
    for path, status in (("/nope", 404), ("/", 403)):
        far = app.test_client().get(path, headers={"Host": "evil.example"})
        assert (far.status_code, "data-count" in far.text) == (status, False)


def test_nobody_has_no_role(closed: Any) -> None:
    with closed.test_request_context("/"):
        assert not any(may(role) for role in ("viewer", "operator", "admin"))
        assert not current().is_anybody
        assert actor() == "nobody"


# ---------------------------------------------------------------------- HEAD is no sign-in


@pytest.mark.parametrize("method", ["HEAD", "GET", "OPTIONS", "PUT"])
def test_only_a_post_counts_as_a_sign_in_attempt(closed: Any, method: str) -> None:
    client = closed.test_client()
    for _ in range(12):
        answer = client.open("/sign-in", method=method)
        assert answer.status_code == {"PUT": 405}.get(method, 200)
    name, (password, _role) = next(iter(PASSWORDS.items()))
    form = {"name": name, "password": password}
    client.open("/sign-in", method=method, data=form)
    client.open("/sign-in", method=method, query_string=form)
    assert client.get("/").status_code == 303
    with closed.app_context():
        assert db.session.execute(text("SELECT count(*) FROM audit_events")).scalar() == 0


def test_head_can_read_the_api_like_get(sign_in: Any) -> None:
    client = sign_in("eve")
    assert client.head("/api/jobs").status_code == 200
