"""A job again, with another payload; and as a command."""

from __future__ import annotations

import json
import shlex
from html import unescape
from typing import Any

import pytest

from app.jobs import lifecycle, queries
from app.jobs.lifecycle import NewJob


@pytest.fixture
def job(session: Any, redis: Any) -> Any:
    payload = {"to": "Ada’s", "n": 12345678901234567890, "password": "hunter2"}
    [new] = lifecycle.enqueue(
        session, [NewJob("echo", payload, queue="mail", tags=["a"], priority=3)]
    )
    session.commit()
    return new.id


def test_an_edited_payload_makes_a_new_job_and_keeps_the_old(
    client: Any, press: Any, session: Any, job: Any
) -> None:
    form = client.get(f"/jobs/{job}/again").text
    assert "12345678901234567890" in form
    assert "Ada’s" in form
    answer = press(f"/jobs/{job}/again", payload='{"to": "Bob"}', priority="-5")
    assert answer.status_code == 303
    new = queries.get_job(session, answer.headers["Location"].rsplit("/", 1)[1])
    assert (new.payload, new.queue, new.priority, new.tags) == ({"to": "Bob"}, "mail", -5, ["a"])
    assert queries.get_job(session, job).payload["to"] == "Ada’s"


@pytest.mark.parametrize(
    ("payload", "priority", "told"),
    [("{", "0", "is not JSON"), ("[1]", "0", "must be a JSON object"), ('{"a": NaN}', "0", "is not JSON"),
     ('{"a": "\\u0000"}', "0", "NUL"), ("{}", "soon", "whole number"), ("{}", "101", "whole number")],
)  # fmt: skip
def test_a_bad_field_is_told_and_what_was_typed_is_kept(
    client: Any, press: Any, job: Any, payload: str, priority: str, told: str
) -> None:
    answer = press(f"/jobs/{job}/again", payload=payload, priority=priority)
    assert answer.status_code == 422
    assert told in answer.text
    assert payload in unescape(answer.text)


def test_a_schema_is_checked(press: Any, session: Any, redis: Any) -> None:
    [new] = lifecycle.enqueue(
        session, [NewJob("send-email", {"to": "a@b.example", "subject": "x"})]
    )
    session.commit()
    answer = press(f"/jobs/{new.id}/again", payload='{"to": "a@b.example"}', priority="0")
    assert answer.status_code == 422
    assert "subject" in answer.text


def test_the_command_makes_the_same_job_and_tells_no_secret(client: Any, job: Any) -> None:
    page = client.get(f"/jobs/{job}").text
    command = unescape(page.split('id="curl-source">')[1].split("</template>")[0])
    words = shlex.split(command.replace("\\\n", " "))
    body = json.loads(words[words.index("-d") + 1])
    assert body["type"] == "echo"
    assert body["payload"]["to"] == "Ada’s"
    assert body["priority"] == 3
    assert "hunter2" not in command
