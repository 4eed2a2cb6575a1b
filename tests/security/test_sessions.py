"""The end of sessions: at sign-out, everywhere, by an administrator, when idle, and for copies of the cookie."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from sqlalchemy import text

from app.extensions import db
from app.front import routes
from app.security import sessions
from app.security.headers import signed_in_name
from tests.security.conftest import PASSWORDS

TICK = {"HX-Request": "true", "HX-Request-Type": "partial", "HX-Source": "div#pulse"}


@pytest.fixture(autouse=True)
def _always_look(monkeypatch: Any) -> None:
    monkeypatch.setattr(sessions, "CACHE_SECONDS", 0)
    monkeypatch.setattr(sessions, "TOUCH_SECONDS", 0)


def copy_of(client: Any, app: Any) -> Any:
    """Another browser with the same cookie."""
    thief = app.test_client()
    thief.set_cookie("session", client.get_cookie("session").value)
    assert thief.get("/").status_code == 200
    return thief


def is_in(client: Any) -> bool:
    status = client.get("/").status_code
    assert status in (200, 303)
    return status == 200


def test_cookie_theft_a_copied_cookie_is_invalid_after_sign_out(closed: Any, sign_in: Any) -> None:
    client = sign_in("ada")
    thief = copy_of(client, closed)
    other_device = sign_in("ada")
    answer = client.post("/sign-out")
    assert answer.headers["Clear-Site-Data"] == '"cache"'
    assert (is_in(client), is_in(thief), is_in(other_device)) == (False, False, True)
    assert thief.get("/api/jobs").status_code == 401


def test_sign_out_everywhere_ends_all_sessions_of_a_person(
    closed: Any, sign_in: Any, make: Any
) -> None:
    client, other_device, somebody_else = sign_in("eve"), sign_in("eve"), sign_in("bob")
    elsewhere = copy_of(client, make())  # another process
    assert client.post("/sign-out/everywhere").headers["Location"] == "/sign-in"
    assert not any(map(is_in, (client, other_device, elsewhere)))
    assert is_in(somebody_else)
    with closed.app_context():
        actions = db.session.execute(text("SELECT actor, action FROM audit_events ORDER BY id"))
        assert tuple(actions.all()[-1]) == ("eve", "sign-out everywhere")


@pytest.mark.parametrize("header", ["Bearer nope", "Basic dmVyYTp4", "Bearer ops-token-0123456789"])
@pytest.mark.parametrize("path", ["/sign-out", "/sign-out/everywhere"])
def test_sign_out_uses_the_session_even_if_a_proxy_adds_credentials(
    closed: Any, sign_in: Any, path: str, header: str
) -> None:
    client = sign_in("ada")
    thief = copy_of(client, closed)
    client.post(path, headers={"Authorization": header})
    assert (is_in(client), is_in(thief)) == (False, False)
    with closed.app_context():
        actors = db.session.scalars(
            text("SELECT actor FROM audit_events WHERE action LIKE 'sign-out%'")
        )
        assert actors.all() == ["ada"]


def test_forged_cookies_do_not_count_as_new_callers(closed: Any, sign_in: Any) -> None:
    """Expensive reads are limited by caller: one person is one, whatever else the header holds."""
    name = partial(signed_in_name, closed)
    cookie = f"session={sign_in('ada').get_cookie('session').value}"

    def caller(cookies: str) -> str:
        return routes.caller({"HTTP_COOKIE": cookies, "REMOTE_ADDR": "192.0.2.1"}, name)

    mine = caller(cookie)
    assert mine == "person ada"
    assert caller(f"__Host-session=k1; {cookie}; session=k2") == mine
    assert caller("session=made.up.cookie") == caller("other=1") == "192.0.2.1"


def test_sign_out_everywhere_needs_a_csrf_token(closed: Any, sign_in: Any) -> None:
    client = sign_in("ada")
    closed.config["WTF_CSRF_ENABLED"] = True
    assert client.post("/sign-out/everywhere").status_code == 400
    assert is_in(client)


def test_all_pages_offer_sign_out_everywhere(sign_in: Any) -> None:
    assert "/sign-out/everywhere" in sign_in("eve").get("/").text


def test_an_administrator_can_end_sessions_on_the_command_line(closed: Any, sign_in: Any) -> None:
    runner, ada, bob = closed.test_cli_runner(), sign_in("ada"), sign_in("bob")
    assert "1 session ended" in runner.invoke(args=["sessions", "end", "ada"]).output
    assert (is_in(ada), is_in(bob)) == (False, True)
    assert "1 session ended" in runner.invoke(args=["sessions", "end", "--all"]).output
    assert not is_in(bob)
    for args in ([], ["ada", "--all"]):
        assert runner.invoke(args=["sessions", "end", *args]).exit_code == 2
    with closed.app_context():
        rows = db.session.execute(text("SELECT subject FROM audit_events WHERE actor = 'cli'"))
        assert list(rows.scalars()) == ["ada", "everyone"]


def test_a_second_sign_in_of_a_browser_ends_its_first_session(closed: Any, sign_in: Any) -> None:
    client = sign_in("ada")
    old = copy_of(client, closed)
    client.post("/sign-in", data={"name": "ada", "password": PASSWORDS["ada"][0]})
    assert (is_in(client), is_in(old)) == (True, False)


def idle(app: Any, minutes: float) -> None:
    with app.app_context():
        db.session.execute(
            text("UPDATE sessions SET used_at = now() - make_interval(secs => :seconds)"),
            {"seconds": minutes * 60},
        )
        db.session.commit()


def test_an_idle_session_ends_although_the_page_refreshes_itself(make: Any, sign_in: Any) -> None:
    app = make(SESSION_IDLE_MINUTES="30")
    client = sign_in("ada", app)
    idle(app, 29)
    assert client.get("/pulse", headers=TICK).status_code == 200
    idle(app, 29)
    assert is_in(client)  # which is a use
    with app.app_context():
        used = "SELECT used_at > now() - interval '1 minute' FROM sessions"
        assert db.session.execute(text(used)).scalar()
    idle(app, 29)
    client.get("/pulse", headers=TICK)
    with app.app_context():
        assert not db.session.execute(text(used)).scalar()
    idle(app, 31)
    assert not is_in(client)


def test_there_is_no_idle_limit_if_none_is_set(make: Any, sign_in: Any) -> None:
    app = make(SESSION_IDLE_MINUTES="0")
    client = sign_in("ada", app)
    idle(app, 60 * 11)
    assert is_in(client)


def test_a_session_is_read_at_most_every_few_seconds(
    closed: Any, sign_in: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(sessions, "CACHE_SECONDS", 60)
    monkeypatch.setattr(sessions, "TOUCH_SECONDS", 60)
    client = sign_in("ada")
    assert is_in(client)
    with closed.app_context():
        db.session.execute(text("DELETE FROM sessions"))
        db.session.commit()
    assert is_in(client)


def test_session_forgery_the_table_contains_no_session_ids(closed: Any, sign_in: Any) -> None:
    client = sign_in("ada")
    with client.session_transaction() as session:
        session_id = session["who"]["id"]
        session["who"] = {**session["who"], "id": "x" * len(session_id)}
    with closed.app_context():
        assert session_id not in str(db.session.execute(text("SELECT * FROM sessions")).all())
    assert not is_in(client)


@pytest.mark.parametrize("change", [{"id": None}, {"id": ""}, {"id": 5}, {"id": "\ud800"}])
def test_session_forgery_a_cookie_without_a_session_is_ignored(
    sign_in: Any, change: dict[str, Any]
) -> None:
    client = sign_in("ada")
    with client.session_transaction() as session:
        session["who"] = {**session["who"], **change}
    assert not is_in(client)


def test_cookies_are_signed_with_sha_256(closed: Any, sign_in: Any) -> None:
    signature = sign_in("ada").get_cookie("session").value.rpartition(".")[2]
    assert len(signature) == 43  # 32 bytes in base64


@pytest.mark.parametrize(
    ("settings", "headers", "name", "is_secure"),
    [
        ({}, {}, "session", False),
        ({}, {"X-Forwarded-Proto": "https"}, "__Host-session", True),
        ({}, {"X-Forwarded-Proto": "https, http"}, "__Host-session", True),
        ({"HTTPS_ONLY": "1"}, {}, "__Host-session", True),
    ],
)
def test_with_tls_the_cookie_belongs_to_this_host_only(
    make: Any, settings: dict[str, str], headers: dict[str, str], name: str, is_secure: bool
) -> None:
    app = make(**settings)
    app.config["WTF_CSRF_ENABLED"] = False
    data = {"name": "ada", "password": PASSWORDS["ada"][0]}
    answer = app.test_client().post("/sign-in", data=data, headers=headers)
    [cookie] = answer.headers.getlist("Set-Cookie")
    assert cookie.startswith(f"{name}=")
    assert ("; Secure" in cookie) is is_secure
    assert "; Path=/" in cookie
    assert "Domain" not in cookie
    assert ("Strict-Transport-Security" in answer.headers) is is_secure
    # It is believed where it came from.
    pair = cookie.partition(";")[0]
    assert (
        app.test_client(use_cookies=False).get("/", headers={**headers, "Cookie": pair}).status_code
        == 200
    )


def test_with_tls_a_plain_cookie_is_ignored(make: Any, sign_in: Any) -> None:
    app = make()
    cookie = sign_in("ada", app).get_cookie("session").value
    headers = {"X-Forwarded-Proto": "https", "Cookie": f"session={cookie}"}
    client = app.test_client(use_cookies=False)
    assert client.get("/", headers=headers).status_code == 303
    del headers["X-Forwarded-Proto"]
    assert client.get("/", headers=headers).status_code == 200
