"""A job again, with another payload; and as a command."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import pytest

from app.jobs import lifecycle, listing
from app.jobs.lifecycle import NewJob
from app.jobs.limits import known
from app.json_values import iso
from tests import factories as make


@pytest.fixture
def job(session: Any, redis: Any) -> Any:
    payload = {"to": "Ada’s", "n": 12345678901234567890, "password": "hunter2"}
    [new] = lifecycle.enqueue(
        session, [NewJob("echo", payload, queue="mail", tags=["a"], priority=3)]
    )
    session.commit()
    return new.id


def test_an_edited_payload_creates_a_new_job_and_keeps_the_old_one(
    client: Any, press: Any, session: Any, job: Any
) -> None:
    form = client.get(f"/jobs/{job}/copy").text
    assert "12345678901234567890" in form
    assert "Ada’s" in form
    answer = press(f"/jobs/{job}/copy", payload='{"to": "Bob"}', priority="-5")
    assert answer.status_code == 303
    new = listing.get_job(session, answer.headers["Location"].rsplit("/", 1)[1])
    assert (new.payload, new.queue, new.priority, new.tags) == ({"to": "Bob"}, "mail", -5, ["a"])
    assert listing.get_job(session, job).payload["to"] == "Ada’s"


@pytest.mark.parametrize(
    ("by", "payload", "key"),
    [
        (None, '{"customer": "b"}', "a"),
        ("customer", "{}", "a"),
        ("customer", '{"customer": "b"}', "b"),
    ],
)
def test_a_copy_has_the_key_of_its_payload_or_of_its_original(
    press: Any, session: Any, redis: Any, by: str | None, payload: str, key: str
) -> None:
    make.limit("stripe", by_field=by, key_concurrency=1, types=("echo",))
    known.forget()
    original = make.waiting_job(type="echo", key="a", payload={"customer": "a"})
    answer = press(f"/jobs/{original.id}/copy", payload=payload, priority="0")
    assert answer.status_code == 303
    new = listing.get_job(session, answer.headers["Location"].rsplit("/", 1)[1])
    assert (new.limit_name, new.limit_key) == ("stripe", key)
    known.forget()


@pytest.mark.parametrize(
    ("payload", "priority", "message"),
    [("{", "0", "must be valid JSON"), ("[1]", "0", "must be a JSON object"), ('{"a": NaN}', "0", "payload.a: must be a finite number"),
     ('{"a": 1, "a": 2}', "0", "must be valid JSON: an object has duplicate keys."),
     ('{"a": "\\u0000"}', "0", "NUL"), ("{}", "soon", "whole number"), ("{}", "101", "whole number")],
)  # fmt: skip
def test_an_invalid_field_shows_an_error_and_keeps_the_input(
    client: Any, press: Any, job: Any, payload: str, priority: str, message: str
) -> None:
    answer = press(f"/jobs/{job}/copy", payload=payload, priority=priority)
    assert answer.status_code == 422
    assert message in answer.text
    assert payload in unescape(answer.text)


def test_the_payload_schema_is_checked(press: Any, session: Any, redis: Any) -> None:
    [new] = lifecycle.enqueue(
        session, [NewJob("send-email", {"to": "a@b.example", "subject": "x"})]
    )
    session.commit()
    answer = press(f"/jobs/{new.id}/copy", payload='{"to": "a@b.example"}', priority="0")
    assert answer.status_code == 422
    assert "subject" in answer.text


def run(page: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command of the page in a shell whose curl prints what it was given, one word a line."""
    command = unescape(page.split('id="curl-source">')[1].split("</template>")[0])
    script = f"curl() {{ printf '%s\\n' \"$@\"; }}\n{command}"
    return subprocess.run(["sh", "-c", script], env=environment, capture_output=True, text=True)


def test_the_command_creates_the_same_job_with_all_its_options(client: Any, session: Any) -> None:
    expires_at = datetime.now(UTC) + timedelta(days=1)
    job = make.scheduled_job(
        payload={"to": "Ada’s 'friend' $HOME"}, queue="slow", priority=3, max_attempts=7, timeout_seconds=2.5,
        tags=["vip", "eu"], unique_key="order 7", expires_at=expires_at,
    )  # fmt: skip
    body = json.loads(run(client.get(f"/jobs/{job.id}").text).stdout.splitlines()[-1])
    assert body == {
        "type": "echo", "payload": {"to": "Ada’s 'friend' $HOME"}, "queue": "slow", "priority": 3, "maxAttempts": 7,
        "timeoutSeconds": 2.5, "tags": ["vip", "eu"], "uniqueKey": "order 7", "nextRunAt": iso(job.run_at),
        "expiresAt": iso(expires_at),
    }  # fmt: skip


def test_secrets_are_variables_without_which_the_command_does_not_run(
    client: Any, session: Any
) -> None:
    secrets = {"password": "hunter2", "deep": [{"apiKey": {"a": 1}, "password": 7}], "token": "t"}
    job = make.pending_job(
        payload={"to": "ada", **secrets}, expires_at=datetime(2020, 1, 1, tzinfo=UTC)
    )
    page = client.get(f"/jobs/{job.id}").text
    assert "hunter2" not in page
    refused = run(page)  # jsonb orders keys by length
    assert refused.returncode != 0
    assert "API_KEY: parameter not set" in refused.stderr
    assert refused.stdout == ""
    given = run(page, PASSWORD="p1", API_KEY="k", PASSWORD_2="s3 'c'", TOKEN_2="t2")
    body = json.loads(given.stdout.splitlines()[-1])
    assert body["payload"] == {
        "to": "ada", "password": "s3 'c'", "deep": [{"apiKey": "k", "password": "p1"}], "token": "t2",
    }  # fmt: skip
    assert "expiresAt" not in body


def test_the_command_leaves_out_the_key_of_a_schedule(client: Any, session: Any) -> None:
    job = make.pending_job(unique_key="schedule:nightly")
    body = json.loads(run(client.get(f"/jobs/{job.id}").text).stdout.splitlines()[-1])
    assert "uniqueKey" not in body
