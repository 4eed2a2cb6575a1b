"""Access by credentials and role: for all routes in the route map, so that no new route is missed."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from werkzeug.routing import Rule

from app import config
from app.extensions import db
from app.security import api_tokens
from app.security.roles import PUBLIC, required_role, requires
from tests.security.conftest import PRODUCTION

SAFE = {"GET", "HEAD", "OPTIONS"}
#: Stated here as well, so that a route that becomes public or stops being admin-only needs a change of this test.
PUBLIC_ENDPOINTS = {
    "static", "dashboard.bundle", "api.health", "dashboard.sign_in", "dashboard.sign_out",
    "dashboard.sign_out_everywhere",
}  # fmt: skip
ADMIN_ENDPOINTS = {
    "api.delete_job",
    "api.delete_limit",
    "api.delete_schedule",
    "dashboard.delete_job",
    "dashboard.delete_limit",
    "dashboard.delete_schedule",
    "dashboard.audit",
}
#: These only compute what they return.
READING_POSTS = {"api.preview_bulk_action", "api.preview_times"}


def routes(app: Any) -> list[tuple[Rule, str, str]]:
    """(rule, method, an address of it) of everything the application answers."""
    found = []
    for rule in app.url_map.iter_rules():
        known = {"number": 1, "what": "pause"}
        values = {n: known.get(n, uuid4() if "id" in n else "name") for n in rule.arguments}
        with app.test_request_context():
            path = app.url_map.bind("localhost").build(rule.endpoint, values, force_external=False)
        found += [(rule, method, path) for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}]
    assert len(found) > 40
    return found


def test_every_route_declares_its_role(closed: Any) -> None:
    roles = {}
    for rule, method, path in routes(closed):
        role = required_role(closed.view_functions[rule.endpoint])
        assert role is not None, f"{path} declares no role"
        if rule.endpoint not in PUBLIC_ENDPOINTS | ADMIN_ENDPOINTS:
            is_reading = method in SAFE or rule.endpoint in READING_POSTS
            assert role == ("viewer" if is_reading else "operator"), (method, path)
        roles[rule.endpoint] = role
    assert {name for name, role in roles.items() if role == PUBLIC} == PUBLIC_ENDPOINTS
    assert {name for name, role in roles.items() if role == "admin"} == ADMIN_ENDPOINTS


@pytest.mark.parametrize("is_open", [True, False])
def test_requests_to_a_route_without_a_role_fail(
    make: Any, bearer: Any, caplog: Any, is_open: bool
) -> None:
    app = make(AUTH_DISABLED="1" if is_open else "")
    app.add_url_rule("/undeclared", "undeclared", lambda: "secret")
    app.add_url_rule("/declared", "declared", requires("viewer")(lambda: "shown"))
    client = app.test_client()
    assert client.get("/declared", headers=bearer("admin")).text == "shown"
    answer = client.get("/undeclared", headers=bearer("admin"))
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "RoleNotDeclared: undeclared" in caplog.text


def test_an_unknown_role_is_refused() -> None:
    with pytest.raises(ValueError, match="'root' is not a role"):
        requires("root")


def test_without_a_token_only_public_routes_are_accessible(closed: Any) -> None:
    client = closed.test_client()
    for rule, method, path in routes(closed):
        if rule.endpoint in PUBLIC_ENDPOINTS:
            continue
        answer = client.open(path, method=method)
        is_page = rule.endpoint.startswith("dashboard.")
        # A form without a session fails at its CSRF token, or is sent to sign in.
        assert answer.status_code in ((303, 400) if is_page else (401,)), (
            method,
            path,
            answer.status_code,
        )
        if answer.status_code == 401:
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_viewer_can_change_nothing_through_any_route(
    closed: Any, bearer: Any, sign_in: Any
) -> None:
    browser, client = sign_in("eve"), closed.test_client()
    changing = 0
    for rule, method, path in routes(closed):
        if method in SAFE or rule.endpoint in PUBLIC_ENDPOINTS | READING_POSTS:
            continue
        changing += 1
        if rule.endpoint.startswith("dashboard."):
            answer = browser.open(path, method=method)
        else:
            answer = client.open(path, method=method, headers=bearer("viewer"), json={})
        assert answer.status_code == 403, (method, path, answer.status_code, answer.text[:300])
    assert changing > 15


def test_an_operator_is_refused_on_admin_routes(closed: Any, bearer: Any, sign_in: Any) -> None:
    browser, client = sign_in("bob"), closed.test_client()
    for rule, method, path in routes(closed):
        if rule.endpoint not in ADMIN_ENDPOINTS:
            continue
        sender: Any = browser if rule.endpoint.startswith("dashboard.") else client
        headers = {} if sender is browser else bearer("operator")
        assert sender.open(path, method=method, headers=headers).status_code == 403
    assert client.delete(f"/api/jobs/{uuid4()}", headers=bearer("admin")).status_code == 404


@pytest.mark.parametrize(
    "header",
    ["Bearer wrong", "Bearer ", "Basic YTpi", "Bearer jq_unknown", "nonsense", "Bearer \xff"],
)
def test_a_wrong_token_is_refused(closed: Any, header: str) -> None:
    answer = closed.test_client().get("/api/jobs", headers={"Authorization": header})
    assert (answer.status_code, answer.json["code"]) == (401, "unauthenticated")


def test_the_audit_log_names_the_owner_of_the_token(closed: Any, bearer: Any) -> None:
    client = closed.test_client()
    job = client.post("/api/jobs", json={"type": "echo"}, headers=bearer("operator")).json
    client.post(f"/api/jobs/{job['id']}/cancel", headers=bearer("operator"))
    with closed.app_context():
        rows = db.session.execute(db.text("SELECT actor, action FROM audit_events")).all()
        assert [tuple(row) for row in rows] == [("operator", "job.cancel")]
        assert db.session.execute(db.text("SELECT created_by FROM jobs")).scalar() == "operator"


def test_stored_tokens_are_hashed_and_can_be_revoked(closed: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(api_tokens, "CACHE_SECONDS", 0)
    runner, client = closed.test_cli_runner(), closed.test_client()
    secret = runner.invoke(args=["tokens", "create", "ci", "--role", "viewer"]).output.strip()
    assert secret.startswith("jq_")
    headers = {"Authorization": f"Bearer {secret}"}
    assert client.get("/api/jobs", headers=headers).status_code == 200
    assert client.post("/api/jobs", json={"type": "echo"}, headers=headers).status_code == 403
    with closed.app_context():
        assert secret not in str(db.session.execute(db.text("SELECT * FROM api_tokens")).all())
    assert "taken" not in runner.invoke(args=["tokens", "list"]).output
    twice = runner.invoke(args=["tokens", "create", "ci"])
    assert twice.exit_code == 1
    assert "named 'ci'" in twice.output
    assert runner.invoke(args=["tokens", "revoke", "ci"]).exit_code == 0
    assert client.get("/api/jobs", headers=headers).status_code == 401
    assert runner.invoke(args=["tokens", "revoke", "ci"]).exit_code == 1


def test_metrics_need_a_token_and_contain_the_counts(closed: Any, bearer: Any) -> None:
    client = closed.test_client()
    client.post("/api/jobs", json={"type": "echo"}, headers=bearer("operator"))
    refused = client.get("/metrics")
    assert (refused.status_code, refused.headers["Cache-Control"]) == (401, "no-store")
    answer = client.get("/metrics", headers=bearer("viewer"))
    assert answer.headers["Cache-Control"] == "no-store"
    text = client.get("/metrics", headers=bearer("viewer")).text
    assert 'jobqueue_jobs{status="pending"} 1.0' in text
    assert client.get("/health").json["status"] == "ok"


def test_a_viewer_sees_no_secrets_in_a_payload(closed: Any, bearer: Any) -> None:
    client = closed.test_client()
    payload = {"to": "ada", "password": "hunter2", "deep": [{"api_key": "k"}]}
    client.post("/api/jobs", json={"type": "echo", "payload": payload}, headers=bearer("operator"))
    [seen] = client.get("/api/jobs", headers=bearer("viewer")).json
    assert seen["payload"]["to"] == "ada"
    assert "hunter2" not in str(seen)
    assert "'k'" not in str(seen)
    [whole] = client.get("/api/jobs", headers=bearer("operator")).json
    assert whole["payload"] == payload


# --------------------------------------------------------------------------------- sessions


def test_sign_in_redirects_back_and_sign_out_ends_the_session(closed: Any, sign_in: Any) -> None:
    answer = closed.test_client().get("/jobs?status=failed")
    assert answer.status_code == 303
    assert answer.headers["Location"] == "/sign-in?next=/jobs?status%3Dfailed"
    client = sign_in("ada")
    page = client.get("/")
    assert page.status_code == 200
    assert "Sign out" in page.text
    assert "ada" in page.text
    # Links of the dashboard lead to the API; reading only.
    assert client.get("/api/jobs").status_code == 200
    assert client.post("/api/jobs", json={"type": "echo"}).status_code == 401
    client.post("/sign-out")
    assert client.get("/").status_code == 303


def test_a_request_for_a_fragment_redirects_the_page_to_sign_in(closed: Any) -> None:
    headers = {
        "HX-Request": "true",
        "HX-Request-Type": "partial",
        "HX-Current-URL": "http://localhost/jobs",
    }
    answer = closed.test_client().get("/pulse", headers=headers)
    assert answer.headers["HX-Redirect"] == "/sign-in?next=/jobs"


def test_a_session_ends_after_session_hours_and_with_a_password_change(
    make: Any, sign_in: Any
) -> None:
    app = make(SESSION_HOURS="0.01")
    client = sign_in("ada", app)
    with client.session_transaction() as session:
        session["who"] = {**session["who"], "at": session["who"]["at"] - 40}
    assert client.get("/").status_code == 303
    client = sign_in("ada", app)
    other = make(DASHBOARD_USERS="ada:another password:admin").test_client()
    cookie = client.get_cookie("session")
    other.set_cookie("session", cookie.value)
    assert other.get("/").status_code == 303


def test_a_viewer_sees_no_buttons(closed: Any, sign_in: Any, bearer: Any) -> None:
    job = (
        closed.test_client()
        .post("/api/jobs", json={"type": "echo"}, headers=bearer("operator"))
        .json
    )
    page = sign_in("eve").get(f"/jobs/{job['id']}").text
    assert "formaction" not in page
    page = sign_in("bob").get(f"/jobs/{job['id']}").text
    assert "/cancel" in page
    assert "/delete" not in page


# ---------------------------------------------------------------------------------- start-up


@pytest.mark.parametrize(
    ("without", "message"),
    [({"SECRET_KEY": ""}, "SECRET_KEY is not set"), ({"API_TOKENS": "", "DASHBOARD_USERS": ""}, "No one could sign in"),
     ({"APP_ENV": "development", "HOST": "0.0.0.0"}, "HOST is '0.0.0.0'"),
     *[({"SECRET_KEY": key}, "SECRET_KEY is too short") for key in ("x", "x" * 100, "0123456789abcdef0123456789abcde")],
     *[({"DASHBOARD_PASSWORD": password, "API_TOKENS": ""}, "attackers try first")
       for password in ("12345678", "Qwertyuiop", "trustno1", "admin123!", "jobqueue2026", "Dashboard1")],
     ({"DASHBOARD_USERS": "katharina:Katharina7:viewer"}, "password of 'katharina'")],
)  # fmt: skip
def test_the_web_server_does_not_start_without_authentication(
    test_env: dict[str, str], without: dict[str, str], message: str
) -> None:
    with pytest.raises(config.ConfigError, match=message):
        config.check_access(config.load({**test_env, **PRODUCTION, **without}))


def test_the_web_server_starts_open_only_with_auth_disabled(test_env: dict[str, str]) -> None:
    env = {**test_env, **PRODUCTION, "API_TOKENS": "", "DASHBOARD_USERS": "", "AUTH_DISABLED": "1"}
    config.check_access(config.load(env))


@pytest.mark.parametrize(
    ("variables", "message"),
    [({"API_TOKENS": "ci:short:read"}, "too short"), ({"API_TOKENS": "ci:0123456789abcdef:root"}, "entry 1"),
     ({"API_TOKENS": "ci"}, "entry 1"), ({"DASHBOARD_PASSWORD": "short"}, "too short"),
     ({"API_TOKENS": "a:0123456789abcdef:read,a:0123456789abcdeg:read"}, "twice")],
)  # fmt: skip
def test_errors_about_credentials_do_not_repeat_them(
    test_env: dict[str, str], variables: dict[str, str], message: str
) -> None:
    with pytest.raises(config.ConfigError, match=message) as caught:
        config.load({**test_env, **PRODUCTION, **variables})
    assert "0123456789" not in str(caught.value)


def test_repr_contains_no_secrets(test_env: dict[str, str]) -> None:
    settings = config.load({**test_env, **PRODUCTION})
    assert "correct horse" not in repr(settings.dashboard_users)
    assert "viewer-token" not in repr(settings.api_tokens)
