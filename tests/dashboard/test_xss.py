"""Nothing that came from outside ends up as markup, whatever field it came in by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests import factories as make
from tests.dashboard.conftest import TICK

ATTACKS = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\"><svg onload='alert(1)'>",
    "'-alert(1)-'",
    "</pre></section><hx-partial hx-target='body'>gone</hx-partial>",
    '<template hx type="partial" hx-target="body">gone</template>',
    "<head><title>pwned</title></head>",
    "<div hx-swap-oob='innerHTML:#main'>gone</div>",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;b&gt;",
)
RAW = (
    "<script>alert",
    "<img src=x",
    "<svg onload",
    "<hx-partial hx-target='body'",
    "<title>pwned",
    "<div hx-swap-oob='inner",
    "<template hx type",
)


@pytest.mark.parametrize("attack", ATTACKS)
def test_every_field_is_escaped_everywhere(client: FlaskClient, session: Any, attack: str) -> None:
    job = make.failed_job(
        type=attack, queue=attack, tags=[attack], unique_key=attack, error=f"ValueError: {attack}",
        payload={attack: attack, "list": [attack, {attack: [attack]}]}, result={attack: attack}, created_by=attack,
    )  # fmt: skip
    make.attempt(job, error=attack, error_class=attack, traceback=attack)
    make.log_line(job, attack, level="info")
    running = make.processing_job(type=attack, progress={"percent": 5, "note": attack})
    make.worker(
        host=attack, version=attack, queues=[attack],
        running=[{"jobId": str(running.id), "type": attack, "attempt": 1, "since": attack}],
    )  # fmt: skip
    make.paused_queue(attack)
    make.pending_job(queue=attack)
    for url in (
        "/",
        "/jobs",
        f"/jobs/{job.id}",
        f"/jobs/{running.id}",
        "/failures/dead-letters",
        "/queues",
        "/workers",
    ):
        for headers in ({}, TICK):
            answer = client.get(url, headers=headers)
            assert answer.status_code == 200, url
            _assert_harmless(answer.text, url)


@pytest.mark.parametrize("attack", ATTACKS)
def test_search_terms_are_escaped(client: FlaskClient, attack: str) -> None:
    for url in ("/jobs", "/failures/dead-letters"):
        for name in ("q", "type", "queue", "tag", "status", "cursor", "within"):
            for headers in ({}, TICK, TICK | {"HX-Source": "form#filter"}):
                answer = client.get(url, query_string={name: attack}, headers=headers)
                assert answer.status_code in (200, 422)
                _assert_harmless(answer.text, f"{url}?{name}=")
                assert "\n" not in answer.headers.get("HX-Replace-Url", "")


def test_messages_are_escaped(
    client: FlaskClient, session: Any, press: Callable[..., TestResponse]
) -> None:
    attack = "<script>alert(1)</script>"
    job = make.failed_job(type=attack)
    press(f"/jobs/{job.id}/retry")
    _assert_harmless(client.get("/jobs").text, "flash")
    job = make.failed_job(unique_key=attack)
    make.pending_job(unique_key=attack)
    _assert_harmless(press(f"/jobs/{job.id}/retry", part=True).text, "409")
    _assert_harmless(press("/queues/%3Cscript%3Ealert(1)/pause", page="/queues").text, "queue")


def test_unknown_addresses_are_not_echoed(client: FlaskClient) -> None:
    assert "<script>" not in client.get("/<script>alert(1)</script>").text.replace(
        "<script src=", ""
    )


def test_bidirectional_marks_affect_only_their_own_element(
    client: FlaskClient, session: Any
) -> None:
    job = make.failed_job(
        type="safe", error="x \u202egnp.exe", tags=["\u202etag"], payload={"k": "\u202ev"}
    )
    page = client.get(f"/jobs/{job.id}").text + client.get("/jobs").text
    for _, before in _around(page, "\u202e"):
        assert "<bdi" in before[-400:] or 'title="' in before[-400:] or "<template" in before


def _around(text: str, mark: str) -> list[tuple[int, str]]:
    parts = text.split(mark)
    return [(n, mark.join(parts[: n + 1])) for n in range(len(parts) - 1)]


def _assert_harmless(text: str, where: str) -> None:
    for raw in RAW:
        assert raw not in text, f"{raw} in {where}"
