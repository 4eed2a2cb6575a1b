"""The pages of limits: the list, one limit with its keys, the forms, the actions, and what jobs and queues say."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.dashboard.present.limit_facts import rate_words, starts_chart
from app.extensions import db
from app.jobs import audit
from app.jobs.limits import listing, starts
from app.jobs.limits.definition import Rate
from app.jobs.models import LimitAttachment, LimitKey
from tests import factories as make
from tests.dashboard.conftest import TICK

NEW: dict[str, str] = {
    "name": "stripe", "by": "customerId", "concurrency": "20", "rate_count": "100", "rate_per": "1", "burst": "",
    "key_concurrency": "2", "key_rate_count": "", "key_rate_per": "1", "key_burst": "",
}  # fmt: skip
NUMBERS: dict[str, Any] = {
    "source": "code", "by_field": "customerId", "concurrency": 20, "rate_count": 100, "rate_seconds": 1, "burst": 5,
    "key_concurrency": 2,
}  # fmt: skip


def plain(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html)).strip()


def row_of(text: str, row_id: str) -> str:
    return plain(text.partition(f'<tr id="{row_id}" data-row>')[2].partition("</tr>")[0])


def save(row: Any) -> None:
    db.session.add(row)
    db.session.commit()


def test_the_list_shows_slots_rate_what_waits_and_whose_numbers_hold(
    client: FlaskClient, session: Any
) -> None:
    make.limit(
        "stripe", types=("charge", "refund"), **NUMBERS, override={"concurrency": 3}, overridden_by="ada",
        overridden_at=make._now(-60),
    )  # fmt: skip
    save(LimitAttachment(kind="queue", name="mail", limit_name="stripe"))
    make.processing_job(limit_name="stripe", limit_key="a")
    for key, due_in in (("a", -240.5), ("b", -5)):
        make.waiting_job(key=key, due_in=due_in)
    for _ in range(20):
        make.completed_job(limit_name="stripe", limit_key="a", finished_ago=1)
    words = row_of(client.get("/limits").text, "limit-stripe")
    assert words.startswith("stripe charge, refund, queue mail 1 of 3 running at most 2 per key")
    assert " 2.1 / 100/s 2 2 keys 4 min " in words
    assert words.endswith("concurrency overridden by ada")
    text = client.get("/limits").text
    assert 'href="/jobs?status=waiting&amp;limit=stripe"' in text
    assert '<progress id="usage-stripe" max="3" value="1"' in text


def test_states_are_named_with_their_person(client: FlaskClient, session: Any) -> None:
    make.limit("paused", paused_at=make._now(-60), paused_by="grace")
    make.limit("closed", blocked_until=make._now(90))
    make.limit("open")
    text = client.get("/limits").text
    assert "Paused by grace" in row_of(text, "limit-paused")
    assert "Closed, opens in 1 min" in row_of(text, "limit-closed")
    assert re.findall(r'formaction="/limits/(\w+)/(\w+)"', text) == [
        ("closed", "resume"), ("open", "pause"), ("paused", "resume"),
    ]  # fmt: skip
    assert 'data-count="nav-limits"><data value="1"' in text


def test_without_limits_the_page_says_what_one_is(client: FlaskClient, session: Any) -> None:
    text = client.get("/limits").text
    assert "No limits yet." in text
    assert "/new-limit" in text


def test_the_page_shows_numbers_uses_and_keys(client: FlaskClient, session: Any) -> None:
    make.limit("stripe", types=("charge",), **NUMBERS, override={"concurrency": 3})
    save(LimitKey(limit_name="stripe", key="vip", concurrency=9))
    save(LimitKey(limit_name="stripe", key="bad", paused_at=make._now(-9), paused_by="ada"))
    for key, n in (("bad", 3), ("vip", 1)):
        for _ in range(n):
            make.waiting_job(key=key)
    make.processing_job(limit_name="stripe", limit_key="vip")
    text = client.get("/limits/stripe").text
    words = plain(text)
    assert "Concurrency 3 (in code: 20)" in words
    assert "Rate 100/s, at most 5 at once" in words
    assert "Concurrency per key 2" in words
    assert re.findall(r'<tr id="key-(\w+)"', text) == ["bad", "vip"]  # the most waiting first
    assert row_of(text, "key-bad").startswith("bad 0 of 2 running 3")
    assert "Paused by ada" in row_of(text, "key-bad")
    assert row_of(text, "key-vip").startswith("vip 1 of 9 running its own number 1")
    assert 'href="/jobs?limit=stripe&amp;limitKey=vip"' in text
    assert client.get("/limits/nobody").status_code == 404


def test_unchanged_pages_are_304(client: FlaskClient, session: Any) -> None:
    make.limit("stripe", types=("charge",))
    for url in ("/limits", "/limits/stripe"):
        etag = client.get(url, headers=TICK).headers["ETag"]
        assert client.get(url, headers=TICK | {"If-None-Match": etag}).status_code == 304, url


def test_starts_are_counted_by_second(session: Any) -> None:
    make.limit("stripe")
    for ago in (3, 3, 20):
        make.completed_job(
            limit_name="stripe", limit_key="", finished_ago=ago
        )  # it ran for a second
    make.failed_job(limit_name="stripe", limit_key="", finished_ago=3)
    make.completed_job(limit_name="stripe", limit_key="", finished_ago=90)
    make.completed_job(limit_name="other", limit_key="", finished_ago=3)
    make.processing_job(limit_name="stripe", limit_key="", started_ago=5)
    lately = starts.starts(session, "stripe")
    assert (lately.total, lately.known_seconds) == (5, starts.SECONDS)
    assert starts.rates_now(session)["stripe"] == pytest.approx(0.4)


def test_only_the_seconds_that_were_read_are_known(session: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(starts, "ROWS", 3)
    for ago in range(1, 9):
        make.completed_job(limit_name="stripe", limit_key="", finished_ago=ago * 2)
    lately = starts.starts(session, "stripe")
    assert lately.per_second[0] is None
    assert lately.known_seconds < 12


def test_the_line_of_starts_has_a_sentence() -> None:
    chart = starts_chart([0, 5, 7], Rate(10))
    assert chart.summary == "12 starts in the last 3 seconds, at most 7 in a second; 10/s allowed."
    assert "starts-allowed" in chart.svg
    assert starts_chart([0, 0], None).summary == "No starts in the last 2 seconds."
    partial = starts_chart([None, 1], None).summary
    assert (
        partial
        == "1 start in the last second, at most 1 in a second. Earlier seconds are not known."
    )


@pytest.mark.parametrize(
    ("rate", "words"),
    [(Rate(100), "100/s"), (Rate(30, 60), "30/min"), (Rate(5, 10), "5 per 10 s"), (None, "")],
)
def test_rates_in_words(rate: Rate | None, words: str) -> None:
    assert rate_words(rate) == words


def test_a_limit_is_created_by_the_form(press: Any, session: Any) -> None:
    response = press("/new-limit", page="/new-limit", **NEW)
    assert response.headers["Location"] == "/limits/stripe"
    limit = listing.get_limit(session, "stripe")
    assert limit.definition.by == "customerId"
    assert (limit.effective.concurrency, limit.effective.key_concurrency) == (20, 2)
    assert limit.effective.rate == Rate(100, 1)
    assert limit.effective.key_rate is None
    assert press("/new-limit", **NEW).status_code == 422  # the name is taken


@pytest.mark.parametrize(
    ("wrong", "field", "words"),
    [
        ({"concurrency": "0"}, "concurrency", "to stop everything, pause the limit."),
        ({"concurrency": "many"}, "concurrency", "must be a whole number"),
        ({"rate_count": "fast"}, "rate_count", "must be a whole number"),
        ({"rate_per": "0"}, "rate_per", "must be more than 0"),
        ({"burst": "2"}, "burst", "must be at least 5 for 100 per second"),
        ({"key_concurrency": "x"}, "key_concurrency", "to stop a key, pause it."),
        ({"key_rate_count": "0"}, "key_rate_count", "must be a whole number"),
        ({"by": "a[0]"}, "by", "must be the name of a field"),
        ({"name": "schedule"}, "name", "is kept for schedules."),
        (dict.fromkeys(("by", "concurrency", "rate_count", "key_concurrency"), ""), "concurrency", "nothing to limit"),
    ],
)  # fmt: skip
def test_an_error_is_shown_at_its_field(
    press: Any, session: Any, wrong: dict[str, str], field: str, words: str
) -> None:
    response = press("/new-limit", **(NEW | wrong))
    assert response.status_code == 422
    [error] = re.findall(rf'id="error-{field}">([^<]+)<', response.text)
    assert words in error
    assert listing.list_limits(session) == []


def test_numbers_of_the_code_are_overridden_and_given_back(
    press: Any, client: FlaskClient, session: Any
) -> None:
    make.limit("stripe", **NUMBERS)
    assert "Override the numbers of stripe" in client.get("/limits/stripe/edit").text
    same = NEW | {"burst": "5"}
    response = press("/limits/stripe/edit", **(same | {"concurrency": "5"}))
    assert response.headers["Location"] == "/limits/stripe"
    limit = listing.get_limit(session, "stripe")
    assert limit.override == {"concurrency": 5}
    assert (limit.effective.concurrency, limit.definition.concurrency) == (5, 20)
    text = client.get("/limits/stripe").text
    assert "5 (in code: 20)" in text
    assert press("/limits/stripe/edit", **(same | {"concurrency": "0"})).status_code == 422
    press("/limits/stripe/override/delete", page="/limits/stripe")
    session.expire_all()
    assert listing.get_limit(session, "stripe").override == {}
    actions = [event.action for event in audit.events_of(session, "stripe")]
    assert actions == ["limit.override", "limit.override.delete"]


@pytest.fixture
def act(press: Any) -> Callable[..., TestResponse]:
    return lambda path, **fields: press(path, part=True, page="/limits/stripe", **fields)


def test_pause_and_resume_a_limit_and_a_key(act: Any, session: Any) -> None:
    make.limit("stripe", key_concurrency=1)
    make.waiting_job(key="a/b c")
    act("/limits/stripe/pause")
    act("/limits/stripe/keys/pause?key=a/b+c")
    assert listing.get_limit(session, "stripe").is_paused
    [key] = session.query(LimitKey)
    assert (key.key, key.paused_at is not None) == ("a/b c", True)
    act("/limits/stripe/resume")
    act("/limits/stripe/keys/resume?key=a/b+c")
    session.expire_all()
    assert not listing.get_limit(session, "stripe").is_paused
    assert session.query(LimitKey).one().paused_at is None
    assert act("/limits/stripe/keys/pause?key=").status_code == 422


def test_a_key_gets_its_own_number(press: Any, client: FlaskClient, session: Any) -> None:
    make.limit("stripe", key_concurrency=2)
    page = client.get("/limits/stripe/key?key=vip").text
    assert "blank: that of the limit, 2" in plain(page)
    press("/limits/stripe/key", key="vip", concurrency="9")
    assert session.query(LimitKey).one().concurrency == 9
    assert 'value="9"' in client.get("/limits/stripe/key?key=vip").text
    refused = press("/limits/stripe/key", key="vip", concurrency="none")
    assert refused.status_code == 422
    assert "to stop a key, pause it." in refused.text
    press("/limits/stripe/key", key="vip", concurrency="")
    session.expire_all()
    assert session.query(LimitKey).one().concurrency is None


def test_types_and_queues_are_put_under_a_limit_and_removed(
    press: Any, client: FlaskClient, session: Any
) -> None:
    make.limit("stripe")
    make.pending_job(queue="mail")
    form = client.get("/limits/stripe/attach").text
    assert '<option value="type:echo">' in form
    assert '<option value="queue:mail">' in form
    press("/limits/stripe/attach", use="type:echo")
    press("/limits/stripe/attach", use="queue:mail")
    limit = listing.get_limit(session, "stripe")
    assert (limit.types, limit.queues) == (["echo"], ["mail"])
    refused = press("/limits/stripe/attach", use="")
    assert refused.status_code == 422
    assert "choose a job type or a queue." in refused.text
    press("/limits/stripe/detach?kind=type&use=echo", page="/limits/stripe")
    press("/limits/stripe/detach?kind=queue&use=mail", page="/limits/stripe")
    session.expire_all()
    assert not listing.get_limit(session, "stripe").is_used


def test_delete_asks_and_is_refused_while_the_limit_is_in_use(
    press: Any, act: Any, session: Any
) -> None:
    make.limit("stripe", types=("charge",))
    assert "Delete limit" in press("/limits/stripe/delete", page="/limits/stripe").text
    refused = press("/limits/stripe/delete", confirmed="yes")
    assert refused.status_code == 409
    assert "detach them first" in refused.text
    press("/limits/stripe/detach?kind=type&use=charge")
    assert act("/limits/stripe/delete", confirmed="yes").headers["HX-Redirect"] == "/limits"


def test_jobs_that_wait_have_a_view_and_say_so(client: FlaskClient, session: Any) -> None:
    assert 'id="tab-waiting"' not in client.get("/jobs").text
    make.limit("stripe", by_field="customerId", key_concurrency=1)
    waiting, free = make.waiting_job(key="42"), make.pending_job()
    other = make.waiting_job(key="7")
    text = fresh(client, "/jobs?status=waiting")
    assert f"job-{waiting.id}" in text
    assert f"job-{free.id}" not in text
    assert '<span class="status is-waiting">' in text
    assert "limit stripe, key 42" in plain(text)
    assert re.search(r'id="tab-waiting".*?data-count="waiting"><data value="2"', text)
    narrowed = client.get("/jobs?status=waiting&limit=stripe&limitKey=42").text
    assert f"job-{other.id}" not in narrowed
    assert "key 42" in narrowed
    assert 'id="chip-limit_key" href="/jobs?status=waiting&amp;limit=stripe"' in narrowed
    assert '<input type="hidden" name="limitKey" value="42" form="filter">' in narrowed
    page = client.get(f"/jobs/{waiting.id}").text
    assert 'href="/limits/stripe"' in page
    assert "customerId 42 has 0 of 1" in plain(page)


def fresh(client: FlaskClient, url: str) -> str:
    from app import cache

    cache.forget()
    return client.get(url).text


def test_queues_say_how_many_jobs_wait_at_which_limit(client: FlaskClient, session: Any) -> None:
    make.limit("stripe")
    make.limit("smtp")
    for queue, limit in (
        ("default", "stripe"),
        ("default", "stripe"),
        ("default", "smtp"),
        ("mail", "smtp"),
    ):
        make.waiting_job(limit=limit, queue=queue)
    make.pending_job()
    for url in ("/queues", "/"):
        rows = client.get(url).text
        words = row_of(rows, "queue-default")
        assert words.startswith("default 2 at limit stripe 1 at limit smtp"), url
        assert row_of(rows, "queue-mail").startswith("mail 1 at limit smtp"), url
