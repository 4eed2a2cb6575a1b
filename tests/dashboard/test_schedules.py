"""The pages of schedules: the list, one schedule, the form with its preview, and the actions."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.jobs import audit
from app.jobs.models import Job, ScheduleRow
from app.jobs.schedules import listing
from tests import factories as make
from tests.dashboard.conftest import FILTER, TICK

NEW: dict[str, str] = {
    "name": "nightly", "type": "echo", "payload": '{"of": "orders"}', "rule": "cron", "cron": "30 2 * * *",
    "zone": "Europe/Berlin", "overlap": "skip", "missed": "one",
}  # fmt: skip


def row_of(text: str, schedule: ScheduleRow) -> str:
    return text.partition(f'<tr id="schedule-{schedule.id}" data-row>')[2].partition("</tr>")[0]


def plain(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html)).strip()


def test_the_list_shows_when_it_runs_its_ticks_its_last_job_and_its_state(
    client: FlaskClient, session: Any
) -> None:
    schedule = make.schedule("nightly-report", type="report", next_in=7260)
    done, failed = make.completed_job(), make.failed_job()
    make.tick(schedule, ago=400, job_id=done.id)
    make.tick(schedule, ago=300, outcome="skipped", job_id=done.id)
    make.tick(schedule, ago=200, outcome="missed", n=12, lasts=60)
    make.tick(schedule, ago=100, job_id=failed.id)
    row = row_of(client.get("/schedules").text, schedule)
    words = plain(row)
    assert words.startswith(
        "nightly-report report At 02:30 every day 30 2 * * * Europe/Berlin in 2 h"
    )
    assert "Failed 1.0 s Active" in words
    assert re.findall(r'class="tick is-([a-z-]+)"', row) == ["done", "skipped", "missed", "broken"]
    assert 'aria-label="Last 4 ticks: 2 enqueued, 1 skipped, 1 missed"' in row
    assert f'href="/jobs/{done.id}"' in row
    assert "missed 12 ticks" in row
    # Its time in its own zone, for the tooltip.
    assert re.search(r'data-zoned="\d{4}-\d\d-\d\d \d\d:\d\d:\d\d CES?T"', row)


def test_marks_of_ticks_without_a_job_lead_to_the_history(
    client: FlaskClient, session: Any
) -> None:
    schedule = make.schedule("nightly")
    tick = make.tick(schedule, outcome="failed", note="payload.to is required.")
    anchor = f"tick-{int(tick.tick_at.timestamp() * 1000)}"
    assert f'href="/schedules/nightly#{anchor}"' in client.get("/schedules").text
    assert f'<tr id="{anchor}">' in client.get("/schedules/nightly").text


def test_each_state_has_its_word_and_its_actions(client: FlaskClient, session: Any) -> None:
    for schedule, word, actions in (
        (make.schedule("a"), "Active", ["run", "pause"]),
        (make.schedule("b", next_in=-60), "Late", ["run", "pause"]),
        (make.paused_schedule("c"), "Paused", ["run", "resume"]),
        (make.retired_schedule("d"), "Retired", ["run"]),
        (make.schedule("e", next_in=None), "Ended", ["run"]),
    ):
        row = row_of(client.get("/schedules").text, schedule)
        assert f"<span>{word}</span>" in row
        assert re.findall(rf'formaction="/schedules/{schedule.name}/(\w+)"', row) == actions


def test_the_head_line_is_there_only_when_something_is_wrong(
    client: FlaskClient, session: Any
) -> None:
    schedule = make.schedule()
    assert 'id="trouble"' not in client.get("/schedules").text
    make.schedule("late-1", next_in=-60)
    make.schedule("late-2", next_in=-60)
    make.tick(schedule, outcome="missed", n=1200)
    text = fresh(client, "/schedules")
    line = text.partition('id="trouble"')[2].partition("</p>")[0]
    assert plain("<p" + line) == "2 late , 1,200 missed in the last 24 h"
    assert 'href="/schedules?state=late"' in line
    assert 'href="/schedules?state=missed"' in line
    assert 'id="problem-late"' not in fresh(client, "/")  # without workers that is the problem
    make.worker(types=["echo"], silent_for=-600)
    assert 'id="problem-late"' in fresh(client, "/")


def fresh(client: FlaskClient, url: str) -> str:
    from app import cache

    cache.forget()
    return client.get(url).text


def test_the_banner_names_the_type_that_no_worker_knows(client: FlaskClient, session: Any) -> None:
    make.worker(types=["echo"], silent_for=-600)
    make.schedule("late", type="report", next_in=-60)
    reason = "No running worker knows the job type report."
    overview = client.get("/").text
    assert "1 schedule is late." in overview
    assert reason in overview
    assert reason in client.get("/schedules/late").text


def test_filters_narrow_the_list_and_each_chip_removes_one(
    client: FlaskClient, session: Any
) -> None:
    make.schedule("daily", type="report")
    make.schedule("hourly", type="echo")
    make.paused_schedule("weekly", type="report")

    def names(query: str) -> list[str]:
        text = client.get(f"/schedules?{query}").text
        return re.findall(r'class="c-type"><a href="/schedules/(\w+)"', text)

    assert names("") == ["daily", "hourly", "weekly"]
    assert names("state=paused") == names("q=week&type=report") == ["weekly"]
    assert names("type=report&state=active") == ["daily"]
    assert names("q=nobody") == []
    text = client.get("/schedules?state=paused&type=report").text
    assert 'id="chip-state" href="/schedules?type=report"' in text
    assert client.get("/schedules?state=asleep").status_code == 422
    part = client.get("/schedules?q=&state=paused&type=", headers=FILTER)
    assert part.headers["HX-Replace-Url"] == "/schedules?state=paused"


def test_the_list_is_read_in_pages(client: FlaskClient, session: Any) -> None:
    for n in range(51):
        make.schedule(f"s{n:02}")
    first = client.get("/schedules").text
    assert "50 schedules on this page" in first
    [following] = re.findall(r'id="page-older" rel="next" href="([^"]+)"', first)
    assert "1 schedule on this page" in client.get(following).text


def test_an_unchanged_list_is_304(client: FlaskClient, session: Any) -> None:
    schedule = make.schedule()
    make.tick(schedule, job_id=make.completed_job().id)
    for url in ("/schedules", "/schedules/nightly"):
        etag = client.get(url, headers=TICK).headers["ETag"]
        assert client.get(url, headers=TICK | {"If-None-Match": etag}).status_code == 304, url


def test_the_page_shows_rules_next_runs_and_history(client: FlaskClient, session: Any) -> None:
    schedule = make.schedule(
        "nightly", payload={"of": "orders", "apiKey": "s3cret"}, queue="reports", priority=5, tick_field="for",
    )  # fmt: skip
    job = make.completed_job()
    make.tick(schedule, ago=100, job_id=job.id, lag=0.04)
    at = datetime(2026, 3, 1, 1, tzinfo=UTC)
    make.tick(
        schedule, outcome="missed", n=3599, note="no worker was alive", tick_at=at,
        last_at=at + timedelta(hours=1), made_at=at,
    )  # fmt: skip
    text = client.get("/schedules/nightly").text
    words = plain(text)
    assert "At 02:30 every day, Europe/Berlin" in words
    assert "Missed 3,599 ticks from 02:00:00 to 03:00:00: no worker was alive." in words
    assert "Skip: no new job while a job of this schedule is pending or processing." in words
    assert "lag p50 40 ms, p99 40 ms" in words
    assert (
        len(re.findall(r'<span class="run-at">\w{3} \d\d \w{3} \d{4}, 02:30 CES?T</span>', text))
        == 10
    )
    assert f'href="/jobs/{job.id}"' in text
    assert "s3cret" not in text
    assert "curl -X PUT http://localhost/api/schedules/nightly" in text
    assert '"apiKey": "' in text.replace("&#34;", '"')
    assert client.get("/schedules/nobody").status_code == 404


def test_the_history_goes_on_on_another_page(client: FlaskClient, session: Any) -> None:
    schedule = make.schedule("nightly")
    for n in range(51):
        make.tick(schedule, ago=60 * n + 1)
    text = client.get("/schedules/nightly").text
    assert "50 ticks on this page" in text
    [older] = re.findall(r'id="page-older" rel="next" href="([^"]+)"', text)
    assert "1 tick on this page" in client.get(older.replace("&amp;", "&")).text


def test_next_runs_of_a_paused_one_are_those_if_it_is_resumed(
    client: FlaskClient, session: Any
) -> None:
    make.paused_schedule("paused", by="ada")
    text = client.get("/schedules/paused").text
    assert "if resumed now" in text
    assert "Paused by ada" in text
    make.retired_schedule("retired")
    text = client.get("/schedules/retired").text
    assert "No more runs." in text
    assert "No live worker declares this schedule." in text


def test_one_of_the_code_can_be_paused_and_run_but_not_changed(
    client: FlaskClient, session: Any
) -> None:
    make.schedule("of-code", source="code")
    text = client.get("/schedules/of-code").text
    assert "Defined in code: change it there." in text
    assert re.findall(r'formaction="/schedules/of-code/(\w+)"', text) == ["run", "pause"]
    assert "edit-schedule" not in text


def test_a_schedule_is_created_by_the_form(press: Any, session: Any) -> None:
    response = press("/new-schedule", page="/new-schedule", **NEW, tags="a, b ,", jitter="30")
    assert response.headers["Location"] == "/schedules/nightly"
    row = listing.get_schedule(session, "nightly")
    assert (row.cron, row.zone, row.payload) == ("30 2 * * *", "Europe/Berlin", {"of": "orders"})
    assert (row.tags, row.jitter_seconds, row.source) == (["a", "b"], 30, "api")
    assert row.next_run_at
    [event] = audit.events_of(session, "nightly")
    assert event.action == "schedule.create"


def test_an_interval_is_given_in_units(press: Any, session: Any) -> None:
    press("/new-schedule", **(NEW | {"rule": "every", "every": "2", "unit": "hours"}))
    row = listing.get_schedule(session, "nightly")
    assert (row.cron, row.every_seconds) == (None, 7200)


@pytest.mark.parametrize(
    ("wrong", "field", "words"),
    [
        ({"cron": "61 * * * *"}, "cron", "the minute '61' is not understood"),
        ({"cron": ""}, "cron", "has 0 fields"),
        ({"zone": "Europe/Berln"}, "zone", "did you mean Europe/Berlin?"),
        ({"rule": "every", "every": "often"}, "every", "must be a whole number from 1"),
        ({"name": "a b"}, "name", "must be 1 to"),
        ({"type": ""}, "type", "No job type is named"),
        ({"payload": "{"}, "payload", "must be valid JSON"),
        ({"type": "send-email", "payload": "{}"}, "payload", "payload.to "),
        ({"missed": "all"}, "missed", "use overlap 'allow' or missed 'one'."),
        ({"jitter": "lots"}, "jitter", "must be a whole number from 0"),
        ({"priority": "high"}, "priority", "must be a whole number from -100 to 100."),
        ({"max_attempts": "0"}, "max_attempts", "must be"),
        ({"ends_at": "2020-01-01T00:00"}, "ends_at", "must be in the future."),
        ({"ends_at": "soon"}, "ends_at", "must be a date and time"),
        ({"tick_field": "of"}, "tick_field", "names a field that payload has"),
        ({"unique_key": "mine"}, "unique_key", "is what overlap uses"),
    ],
)  # fmt: skip
def test_an_error_is_shown_at_its_field_and_what_was_typed_stays(
    press: Any, session: Any, wrong: dict[str, str], field: str, words: str
) -> None:
    response = press("/new-schedule", **(NEW | wrong))
    assert response.status_code == 422
    [error] = re.findall(rf'id="error-{field}">([^<]+)<', response.text)
    assert words in unescape(error)
    if field not in ("overlap", "missed"):
        assert f'aria-describedby="error-{field}"' in response.text
    assert 'value="nightly"' in response.text or field == "name"
    assert list(session.query(ScheduleRow)) == []


def test_a_name_that_is_taken_is_refused(press: Any, session: Any) -> None:
    make.schedule("nightly")
    response = press("/new-schedule", **NEW)
    assert response.status_code == 409
    assert "already a schedule named nightly" in plain(response.text)


def test_a_schedule_is_edited(press: Any, client: FlaskClient, session: Any) -> None:
    make.schedule("nightly", every_seconds=7200, payload={"apiKey": "s3cret"}, tags=["a"])
    text = client.get("/schedules/nightly/edit").text
    assert "s3cret" in text  # operators edit the payload itself
    assert re.search(r'name="every" value="2"', text)
    assert "<option selected>hours</option>" in text
    response = press("/schedules/nightly/edit", **(NEW | {"cron": "0 9 * * MON"}))
    assert response.headers["Location"] == "/schedules/nightly"
    session.expire_all()
    row = listing.get_schedule(session, "nightly")
    assert (row.cron, row.every_seconds, row.payload) == ("0 9 * * MON", None, {"of": "orders"})
    assert press("/schedules/nightly/edit", **(NEW | {"cron": "@reboot"})).status_code == 422


def test_one_of_the_code_is_not_edited_or_deleted(press: Any, session: Any) -> None:
    make.schedule("nightly", source="code")
    for response in (
        press("/schedules/nightly/edit", **NEW),
        press("/schedules/nightly/delete", confirmed="yes"),
    ):
        assert response.status_code == 409
        assert "is defined in the code; change it there." in plain(response.text)


def test_the_preview_shows_the_sentence_and_five_runs_with_notes(client: FlaskClient) -> None:
    text = client.get(
        "/schedule-preview?rule=cron&cron=30+2+*+*+*&zone=Europe/Berlin", headers=FILTER
    ).text
    assert "At 02:30 every day, Europe/Berlin" in text
    assert text.count('class="run-at"') == 5
    assert "<html" not in text
    every = client.get("/schedule-preview?rule=every&every=90&unit=minutes").text
    assert "Every 90 minutes" in every
    wrong = client.get("/schedule-preview?rule=cron&cron=61+*+*+*+*&zone=UTC", headers=FILTER)
    assert wrong.status_code == 200
    assert "Line: the minute &#39;61&#39; is not understood" in wrong.text


def test_without_scripts_a_button_shows_the_preview(press: Any, session: Any) -> None:
    response = press("/new-schedule", preview="yes", **NEW)
    assert response.status_code == 200
    assert response.text.count('class="run-at"') == 5
    assert list(session.query(ScheduleRow)) == []


def test_the_form_names_the_fields_of_the_payload(client: FlaskClient) -> None:
    text = client.get("/schedule-payload?type=send-email", headers=FILTER).text
    assert "<code>to</code> (required)" in text
    assert "<code>" not in client.get("/schedule-payload?type=nobody", headers=FILTER).text


@pytest.fixture
def act(press: Any) -> Callable[..., TestResponse]:
    return lambda verb, **fields: press(
        f"/schedules/nightly/{verb}", part=True, page="/schedules", **fields
    )


def test_pause_and_resume(act: Any, session: Any) -> None:
    make.schedule("nightly")
    assert act("pause").status_code == 303
    session.expire_all()
    row = listing.get_schedule(session, "nightly")
    assert listing.state_of(row) == "paused"
    act("resume")
    session.expire_all()
    assert listing.state_of(listing.get_schedule(session, "nightly")) == "active"
    actions = [event.action for event in audit.events_of(session, "nightly")]
    assert actions == ["schedule.pause", "schedule.resume"]


def test_run_now_makes_a_job_and_says_which(act: Any, client: FlaskClient, session: Any) -> None:
    make.schedule("nightly", payload={"of": "orders"})
    act("run")
    [job] = session.query(Job)
    assert (job.type, job.payload) == ("echo", {"of": "orders"})
    text = client.get("/schedules").text
    assert f"Job {str(job.id)[-8:]} of schedule nightly created." in text
    assert "Run now" in client.get("/schedules/nightly").text


def test_run_now_next_to_a_live_job_asks_first(act: Any, client: FlaskClient, session: Any) -> None:
    make.schedule("nightly")
    act("run")
    assert act("run").status_code == 409
    text = client.get("/schedules/nightly").text
    assert "of this schedule is pending. Run another one next to it?" in text
    assert act("run", confirmed="yes").status_code == 303
    assert session.query(Job).count() == 2


def test_delete_asks_without_scripts_and_leaves_the_page(
    press: Any, act: Any, session: Any
) -> None:
    make.schedule("nightly")
    asked = press("/schedules/nightly/delete", page="/schedules/nightly")
    assert "Delete schedule" in asked.text
    assert asked.text.count('name="csrf_token"') == asked.text.count('method="post"') == 2
    response = act("delete", confirmed="yes")
    assert response.headers["HX-Redirect"] == "/schedules"
    assert list(session.query(ScheduleRow)) == []


def test_a_line_of_a_newer_release_has_a_page(client: Any, session: Any) -> None:
    make.schedule("newer", cron="0 0 1W * *", zone="Mars/Phobos")
    assert "0 0 1W * *" in client.get("/schedules/newer").text
    assert "0 0 1W * *" in client.get("/schedules").text
