"""One test for each attack, with the attack in its name."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.security.conftest import PASSWORDS


def test_csrf_a_form_on_another_site_changes_nothing(closed: Any) -> None:
    client = closed.test_client()
    page = client.get("/sign-in").text
    token = re.search(r'name="csrf_token" value="([^"]+)"', page)[1]
    data = {"name": "ada", "password": PASSWORDS["ada"][0]}
    assert client.post("/sign-in", data=data).status_code == 400
    assert client.post("/sign-in", data={**data, "csrf_token": token}).status_code == 303
    assert client.post("/queues/default/pause").status_code == 400
    assert "paused" not in client.get("/queues").text.split("<main")[1].lower().split("pause ")[0]


def test_guessing_passwords_is_slowed_down(closed: Any) -> None:
    closed.config["WTF_CSRF_ENABLED"] = False
    client = closed.test_client()
    statuses = [
        client.post("/sign-in", data={"name": "ada", "password": f"guess {n}"}).status_code
        for n in range(11)
    ]
    assert statuses == [422] * 10 + [429]
    answer = client.post("/sign-in", data={"name": "ada", "password": PASSWORDS["ada"][0]})
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) > 0


def test_guessing_passwords_across_processes_is_slowed_down(make: Any) -> None:
    statuses = []
    for n in range(12):
        app = make()
        app.config["WTF_CSRF_ENABLED"] = False
        statuses.append(
            app.test_client().post("/sign-in", data={"name": "ada", "password": f"{n}"}).status_code
        )
    assert statuses[-1] == 429


def test_guessing_passwords_without_redis_is_slowed_down(make: Any) -> None:
    app = make(REDIS_URL="redis://127.0.0.1:1/0")
    app.config["WTF_CSRF_ENABLED"] = False
    client = app.test_client()
    statuses = [
        client.post("/sign-in", data={"name": "ada", "password": f"{n}"}).status_code
        for n in range(11)
    ]
    assert statuses[-1] == 429


def test_guessing_tokens_is_slowed_down(closed: Any) -> None:
    client = closed.test_client()
    statuses = {
        client.get("/api/jobs", headers={"Authorization": f"Bearer guess-{n}"}).status_code
        for n in range(101)
    }
    assert statuses == {401, 429}


def test_guessing_tokens_does_not_block_clients_with_a_valid_token(
    closed: Any, bearer: Any
) -> None:
    client = closed.test_client()
    assert client.get("/api/jobs", headers=bearer("viewer")).status_code == 200
    for n in range(101):
        answer = client.get("/api/jobs", headers={"Authorization": f"Bearer guess-{n}"})
    assert answer.status_code == 429
    assert client.get("/api/jobs", headers=bearer("viewer")).status_code == 200


def test_too_many_requests_are_refused_per_caller(make: Any, bearer: Any) -> None:
    client = make(API_RATE_LIMIT="3").test_client()
    statuses = [
        client.get("/api/jobs/stats", headers=bearer("viewer")).status_code for _ in range(4)
    ]
    assert statuses == [200, 200, 200, 429]
    assert client.get("/api/jobs/stats", headers=bearer("admin")).status_code == 200


@pytest.mark.parametrize(
    "address",
    [
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "javascript:alert(1)",
        "/\t/evil.example",
        "http:evil.example",
    ],
)
def test_open_redirect_sign_in_redirects_only_within_the_site(closed: Any, address: str) -> None:
    closed.config["WTF_CSRF_ENABLED"] = False
    data = {"name": "ada", "password": PASSWORDS["ada"][0], "next": address}
    answer = closed.test_client().post("/sign-in", data=data)
    assert answer.headers["Location"] == "/"


def test_session_forgery_a_cookie_signed_with_another_key_is_ignored(
    make: Any, sign_in: Any
) -> None:
    cookie = sign_in("ada").get_cookie("session").value
    other = make(SECRET_KEY="another key of thirty-two characters").test_client()
    other.set_cookie("session", cookie)
    assert other.get("/").status_code == 303


def test_session_forgery_a_cookie_contains_no_role(sign_in: Any) -> None:
    client = sign_in("eve")
    with client.session_transaction() as session:
        assert set(session["who"]) == {"name", "at", "proof", "id"}
        session["who"] = {**session["who"], "name": "ada"}
    assert client.get("/").status_code == 303


def test_session_fixation_sign_in_clears_the_previous_session(closed: Any) -> None:
    closed.config["WTF_CSRF_ENABLED"] = False
    client = closed.test_client()
    with client.session_transaction() as session:
        session["planted"] = 1
    client.post("/sign-in", data={"name": "ada", "password": PASSWORDS["ada"][0]})
    with client.session_transaction() as session:
        assert "planted" not in session


def test_cookie_theft_the_cookie_is_http_only_and_secure_with_tls(closed: Any) -> None:
    closed.config["WTF_CSRF_ENABLED"] = False
    data = {"name": "ada", "password": PASSWORDS["ada"][0]}
    answer = closed.test_client().post(
        "/sign-in", data=data, headers={"X-Forwarded-Proto": "https"}
    )
    cookie = next(
        c for c in answer.headers.getlist("Set-Cookie") if c.startswith("__Host-session=")
    )
    assert all(word in cookie for word in ("HttpOnly", "SameSite=Lax", "Secure", "Path=/"))
    assert "Domain" not in cookie
    assert answer.headers["Strict-Transport-Security"]


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:3000", "localhost.evil.example", "127.0.0.1.evil.example"],
)
def test_dns_rebinding_an_open_server_accepts_only_local_host_names(app: Any, host: str) -> None:
    answer = app.test_client().get("/api/jobs", headers={"Host": host})
    assert (answer.status_code, answer.json["code"]) == (403, "only_this_machine")


def test_an_open_server_accepts_only_this_machine(app: Any) -> None:
    answer = app.test_client().get("/api/jobs", environ_base={"REMOTE_ADDR": "192.168.1.7"})
    assert answer.status_code == 403
    for host in ("localhost:3000", "127.0.0.1:3000", "[::1]:3000"):
        assert app.test_client().get("/api/jobs", headers={"Host": host}).status_code == 200


def test_clickjacking_and_sniffing_are_prevented_by_headers(closed: Any) -> None:
    headers = closed.test_client().get("/sign-in").headers
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert (headers["X-Frame-Options"], headers["X-Content-Type-Options"]) == ("DENY", "nosniff")


def test_the_sign_in_reveals_no_names(closed: Any) -> None:
    closed.config["WTF_CSRF_ENABLED"] = False
    client = closed.test_client()
    pages = [
        client.post("/sign-in", data={"name": name, "password": "no"}).text.replace(name, "")
        for name in ("ada", "nobody")
    ]
    pages = [re.sub(r'name="csrf_token" value="[^"]+"', "", page) for page in pages]
    assert pages[0] == pages[1]


def test_injection_the_name_of_a_sign_in_is_treated_as_text(closed: Any) -> None:
    closed.config["WTF_CSRF_ENABLED"] = False
    client = closed.test_client()
    for name in ("\0", "x' OR 1=1 --", "<script>", "a" * 5000, "\ud800"):
        assert (
            client.post(
                "/sign-in", data={"name": name.encode("utf-8", "replace"), "password": "x"}
            ).status_code
            == 422
        )


def test_no_pickle_anywhere() -> None:
    from tests.support.services import ROOT

    for path in (ROOT / "app").rglob("*.py"):
        for line in path.read_text().splitlines():
            assert not re.match(r"\s*(import|from) (pickle|cPickle|dill|marshal|shelve)\b", line), (
                path
            )


def test_a_form_opened_hours_ago_still_works(closed: Any) -> None:
    # Not an attack: a dashboard stays open all day, and its buttons must not expire before its session.
    assert closed.config["WTF_CSRF_TIME_LIMIT"] is None


def test_a_password_of_any_length_and_characters_works(make: Any) -> None:
    password = "  ünïcode 'quoted\"   " + "x" * 1500
    app = make(DASHBOARD_PASSWORD=password, API_TOKENS="")
    app.config["WTF_CSRF_ENABLED"] = False
    for given, status in ((password[:1000], 422), (password.strip(), 422), (password, 303)):
        data = {"name": "admin", "password": given}
        assert app.test_client().post("/sign-in", data=data).status_code == status
