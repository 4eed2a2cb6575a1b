"""Sign-ins, refusals and changes in the security log and in the append-only audit log."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app import config
from app.config import ConfigError
from app.extensions import db
from app.security import api_tokens, events
from app.worker.sweeper.prune import prune_audit_events
from tests.security.conftest import PASSWORDS, PRODUCTION


@pytest.fixture
def lines(caplog: Any, monkeypatch: Any) -> Any:
    """The events logged so far: (event, level, record)."""
    caplog.set_level(logging.INFO, "app.security")
    monkeypatch.setattr(events, "_left_out", 0)
    events._limiter.storage.reset()

    def lines() -> list[tuple[str, str, Any]]:
        records = [r for r in caplog.records if r.name == "app.security"]
        return [(record.event, record.levelname, record) for record in records]

    return lines


def audit(app: Any) -> list[tuple[str, str, str]]:
    with app.app_context():
        rows = db.session.execute(
            text("SELECT actor, action, subject FROM audit_events ORDER BY id")
        )
        return [tuple(row) for row in rows]  # type: ignore[misc]


def test_refused_requests_are_logged(closed: Any, bearer: Any, lines: Any, make: Any) -> None:
    client = closed.test_client()
    client.get("/api/jobs")
    client.get("/api/jobs", headers={"Authorization": "Bearer wrong"})
    client.post("/api/jobs", json={"type": "echo"}, headers=bearer("viewer"))
    limited = make(API_RATE_LIMIT="1").test_client()
    for _ in range(2):
        limited.get("/api/jobs", headers=bearer("admin"))
    assert [(event, level) for event, level, _ in lines()] == [
        ("door.unauthenticated", "INFO"),
        ("door.unauthenticated", "WARNING"),
        ("door.forbidden", "WARNING"),
        ("door.too_many_requests", "WARNING"),
    ]
    record = lines()[2][2]
    facts = (record.actor, record.role, record.needed, record.method, record.path, record.address)
    assert facts == ("viewer", "viewer", "operator", "POST", "/api/jobs", "127.0.0.1")
    assert lines()[3][2].actor == "admin"


def test_signing_in_and_out_is_logged_and_audited(closed: Any, sign_in: Any, lines: Any) -> None:
    client = sign_in("ada")
    client.post("/sign-out")
    for name in ("ada", "stranger"):
        closed.test_client().post("/sign-in", data={"name": name, "password": "wrong guess"})
    assert [(event, record.actor) for event, _, record in lines()] == [
        ("sign-in", "ada"),
        ("sign-out", "ada"),
        ("sign-in.refused", "ada"),
        ("sign-in.refused", "unknown"),  # people type their password into the wrong field
    ]
    # A stranger's invented names fill no table.
    assert audit(closed) == [
        ("ada", "sign-in", "127.0.0.1"),
        ("ada", "sign-out", "127.0.0.1"),
        ("ada", "sign-in refused", "127.0.0.1"),
    ]
    secrets = [PASSWORDS["ada"][0], "wrong guess"]
    assert not [s for s in secrets for *_, record in lines() if s in record.getMessage()]


def test_a_forged_form_is_logged(closed: Any, sign_in: Any, lines: Any) -> None:
    client = sign_in("ada")
    closed.config["WTF_CSRF_ENABLED"] = True
    client.post("/queues/default/pause")
    assert [(event, record.actor) for event, _, record in lines()][1:] == [("form.refused", "ada")]


def test_created_and_revoked_tokens_are_logged_and_audited(closed: Any, lines: Any) -> None:
    runner = closed.test_cli_runner()
    secret = runner.invoke(args=["tokens", "create", "ci", "--role", "viewer"]).output.strip()
    runner.invoke(args=["tokens", "revoke", "ci"])
    assert [(event, record.token) for event, _, record in lines()] == [
        ("token.created", "ci"),
        ("token.revoked", "ci"),
    ]
    assert audit(closed) == [("cli", "token.create", "ci"), ("cli", "token.revoke", "ci")]
    assert secret not in "".join(record.getMessage() for *_, record in lines())


def test_many_refusals_write_only_a_few_lines(closed: Any, lines: Any) -> None:
    client = closed.test_client()
    for n in range(40):
        client.get("/api/jobs", headers={"Authorization": f"Bearer guess-{n}"})
    assert len(lines()) == 10
    events._limiter.storage.reset()
    client.get("/api/jobs")
    assert lines()[-1][2].leftOut == 30


def test_refusals_from_many_addresses_are_limited_in_lines_and_memory(
    closed: Any, lines: Any
) -> None:
    for n in range(400):
        with closed.test_request_context(environ_base={"REMOTE_ADDR": f"2001:db8:{n:x}::1"}):
            events.refused("door.unauthenticated")
    assert len(lines()) == 300
    assert len(events._limiter.storage.windows) == 301
    # A network of IPv6 is one address.
    events._limiter.storage.reset()
    for n in range(20):
        with closed.test_request_context(environ_base={"REMOTE_ADDR": f"2001:db8::{n:x}"}):
            events.refused("door.unauthenticated")
    assert len(lines()) == 310


def test_log_forging_a_path_or_a_name_can_not_start_a_line(closed: Any, lines: Any) -> None:
    closed.config["WTF_CSRF_ENABLED"] = False
    client = closed.test_client()
    client.get(
        "/jobs/x%0aINFO app.security sign-in actor=ada", headers={"Authorization": "Bearer x"}
    )
    client.get("/queues/%0d%0aforged/pause?x=%0a")
    name = "eve\nINFO app.security sign-in actor=ada\u2028" + "x" * 5000
    client.post("/sign-in", data={"name": name, "password": "x"})
    for *_, record in lines():
        assert len(record.getMessage().splitlines()) == 1
        assert len(record.getMessage()) < 1000
    assert lines()


# ------------------------------------------------------------------------ names are unique


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({"API_TOKENS": "ada:0123456789abcdef:viewer"}, "ada"),
        ({"API_TOKENS": "ADA:0123456789abcdef:viewer"}, "ADA"),
        ({"API_TOKENS": "cli:0123456789abcdef:viewer"}, "cli"),
        ({"DASHBOARD_USERS": "nobody:0123456789abcdef:viewer"}, "nobody"),
        ({"API_TOKENS": "admin:0123456789abcdef:viewer", "DASHBOARD_PASSWORD": "long enough"}, "admin"),
    ],
)  # fmt: skip
def test_one_name_is_one_actor(
    test_env: dict[str, str], variables: dict[str, str], name: str
) -> None:
    with pytest.raises(ConfigError, match=f"(?i)'{name}' is reserved or used more than once"):
        config.load({**test_env, **PRODUCTION, **variables})


@pytest.mark.parametrize("name", ["viewer", "Viewer", "ada", "cli", "nobody"])
def test_a_stored_token_can_not_have_a_name_from_the_settings(closed: Any, name: str) -> None:
    done = closed.test_cli_runner().invoke(args=["tokens", "create", name])
    assert done.exit_code == 1
    assert "take another name" in done.output
    assert audit(closed) == []


@pytest.mark.parametrize("name", ["", " ", "a\nb", "a:b", "a,b", "x" * 101, "a\u2028b", " a"])
def test_a_token_needs_a_readable_name(closed: Any, name: str) -> None:
    done = closed.test_cli_runner().invoke(args=["tokens", "create", "--", name])
    assert done.exit_code == 1
    assert "can't be a token's name" in done.output


def test_ambiguous_actor_a_stored_token_is_refused_once_the_settings_have_its_name(
    closed: Any, make: Any, lines: Any
) -> None:
    with closed.app_context():
        secret = api_tokens.create("eye", "admin", taken=())
        db.session.commit()
    headers = {"Authorization": f"Bearer {secret}"}
    assert closed.test_client().get("/api/jobs", headers=headers).status_code == 200
    twin = make(API_TOKENS="Eye:0123456789abcdef:viewer")
    assert twin.test_client().get("/api/jobs", headers=headers).status_code == 401
    assert "token.ambiguous" in [event for event, *_ in lines()]


# --------------------------------------------------------------------- the audit only grows


@pytest.fixture
def old_event(closed: Any) -> Any:
    with closed.app_context():
        db.session.execute(
            text(
                "INSERT INTO audit_events (at, actor, action, subject) VALUES"
                " (now() - interval '400 days', 'eve', 'job.delete', 'x'),"
                " (now() - interval '2 days', 'eve', 'job.delete', 'y'),"
                " (now(), 'eve', 'job.delete', 'z')"
            )
        )
        db.session.commit()
        yield
        db.session.rollback()


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM audit_events",
        "UPDATE audit_events SET actor = 'ada'",
        "TRUNCATE audit_events",
        "INSERT INTO audit_events SELECT * FROM audit_events ON CONFLICT (id) DO UPDATE SET actor = 'ada'",
    ],
)
def test_audit_tampering_events_can_not_be_changed_or_deleted(
    closed: Any, old_event: None, statement: str
) -> None:
    with pytest.raises(DBAPIError, match="append-only"):
        db.session.execute(text(statement))
    db.session.rollback()
    assert len(audit(closed)) == 3


def test_audit_tampering_retention_can_not_delete_the_last_day(
    closed: Any, old_event: None
) -> None:
    db.session.execute(text("SET LOCAL jobqueue.audit_retention = 'on'"))
    with pytest.raises(DBAPIError, match="append-only"):
        db.session.execute(text("DELETE FROM audit_events"))


@pytest.mark.parametrize(("days", "left"), [("365", ["y", "z"]), ("1", ["z"]), ("0", ["x", "y", "z"])])  # fmt: skip
def test_audit_events_are_kept_for_the_configured_days(
    make: Any, old_event: None, days: str, left: list[str]
) -> None:
    app = make(AUDIT_RETENTION_DAYS=days)
    prune_audit_events(db.engine, app.extensions["settings"])
    assert [subject for *_, subject in audit(app)] == left
