"""Everything that matches a list: the preview, the confirmation, the page that says how far it is."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from app import cache
from app.dashboard import list_query
from app.jobs import bulk, lifecycle
from app.jobs.bulk import scope as bulk_scope
from app.jobs.lifecycle import NewJob
from tests import factories


@pytest.fixture
def confirm(client: Any, press: Any) -> Any:
    """Opens the preview and presses a verb's button, as a browser would with what its form holds."""

    def confirm(url: str, verb: str, between: Any = None, **fields: Any) -> Any:
        page = client.get(url).text
        if between:
            between()
        return press(url.replace("&amp;", "&"), **scope_in(page, verb), verb=verb, **fields)

    return confirm


def scope_in(page: str, verb: str) -> dict[str, str]:
    """The hidden fields of the form with that verb's button."""
    [form] = [form for form in page.split("<form")[1:] if f'name="verb" value="{verb}"' in form]
    names = ("as_of", "upto", "moment", "expected")
    return {
        name: re.search(f'name="{name}" value="([^"]*)"', form)[1]  # type: ignore[index]
        for name in names
    }


def main(page: str) -> str:
    return page.split("<main")[1].split("</main")[0]


def test_from_the_list_to_the_finished_action(
    client: Any, confirm: Any, session: Any, redis: Any
) -> None:
    lifecycle.enqueue(session, [NewJob("echo", {}, tags=["old"]) for _ in range(3)])
    lifecycle.enqueue(session, [NewJob("echo", {})])
    session.commit()
    list_page = client.get("/jobs?status=pending&tag=old").text
    assert "Act on all matching jobs…" in list_page
    assert 'href="/jobs/all?status=pending&amp;tag=old"' in list_page
    preview = main(client.get("/jobs/all?status=pending&tag=old").text)
    assert "Cancel 3 jobs" in preview
    assert "echo in default 3" in preview
    assert "Retry" not in preview
    answer = confirm("/jobs/all?status=pending&tag=old", "cancel")
    assert answer.status_code == 303
    page = answer.headers["Location"]
    assert "Running" in client.get(page).text
    assert bulk.step(session) == 3
    text = client.get(page).text
    assert "<b>Finished</b>: 3 cancelled or stopping." in text
    assert re.search('id="bulk-filter" href="/jobs[?](?=.*status=pending)(?=.*tag=old)', text)
    assert client.get("/api/jobs/stats").json["cancelled"] == 3
    assert "Cancel 3 jobs" in client.get("/bulk").text


def test_it_can_be_paused_and_stopped(
    client: Any, press: Any, confirm: Any, session: Any, redis: Any
) -> None:
    lifecycle.enqueue(session, [NewJob("echo", {})])
    session.commit()
    page = confirm("/jobs/all?status=pending", "cancel").headers["Location"]
    assert 'hx-confirm="Stop after 0 of 1?"' in client.get(page).text
    assert press(f"{page}/pause").status_code == 303
    assert "Paused" in client.get(page).text
    press(f"{page}/resume")
    press(f"{page}/stop")
    assert "<b>Undone</b>: 0 cancelled or stopping, 1 not reached." in client.get(page).text


def test_jobs_that_arrive_after_the_preview_are_counted_and_not_changed(
    client: Any, confirm: Any, session: Any, redis: Any
) -> None:
    for _ in range(2):
        factories.failed_job()
    page = confirm(
        "/jobs/all?status=failed", "retry", between=lambda: ids(3, factories.failed_job)
    ).headers["Location"]
    text = client.get(page).text
    assert "Retry 2 jobs" in text
    assert "3 jobs arrived or changed after the preview and are not included." in text


def test_last_hour_counts_back_from_the_preview(
    client: Any, confirm: Any, session: Any, redis: Any, monkeypatch: Any
) -> None:
    factories.failed_job(created_ago=3595)
    later = datetime.now(UTC) + timedelta(seconds=600)

    def pass_ten_minutes() -> None:
        monkeypatch.setattr(list_query, "datetime", SimpleNamespace(now=lambda _: later))

    page = confirm("/jobs/all?status=failed&within=1h", "retry", between=pass_ten_minutes)
    assert "Retry 1 job<" in client.get(page.headers["Location"]).text


def test_without_a_preview_nothing_starts(client: Any, press: Any, session: Any) -> None:
    factories.failed_job()
    answer = press("/jobs/all?status=failed", verb="retry")
    assert answer.status_code == 422
    assert "open “Act on all matching jobs” first" in answer.text
    old = {
        "as_of": "2020-01-01T00:00:00+00:00",
        "upto": str(UUID(int=1)),
        "moment": "1.1.",
        "expected": "1",
    }
    assert "too old" in press("/jobs/all?status=failed", verb="retry", **old).text
    assert bulk.latest(session) == []


@pytest.mark.parametrize(
    "moment", ["", "x", "1", "1.2", "1.2.,", "1.2.3,", "-1.2.3", f"{10**18}.1.", "١.٢."]
)
def test_an_invalid_preview_moment_is_refused(
    client: Any, press: Any, session: Any, moment: str
) -> None:
    factories.failed_job()
    fields = scope_in(client.get("/jobs/all?status=failed").text, "retry") | {"moment": moment}
    answer = press("/jobs/all?status=failed", verb="retry", **fields)
    assert answer.status_code == 422
    assert "open “Act on all matching jobs” first" in answer.text


def test_a_deletion_needs_confirmation_and_above_a_hundred_the_typed_count(
    client: Any, press: Any, confirm: Any, session: Any, redis: Any
) -> None:
    url = "/jobs/all?status=failed"
    session.execute(
        text(
            "INSERT INTO jobs (id, queue, type, payload, status, finished_at)"
            " SELECT gen_random_uuid(), 'q', 'echo', '{}', 'failed', now() FROM generate_series(1, 101)"
        )
    )
    session.commit()
    question = confirm(url, "delete")
    assert question.status_code == 200
    assert "Delete 101 jobs?" in question.text
    assert "Type 101 to confirm" in question.text
    fields = scope_in(question.text, "delete")
    wrong = press(url, verb="delete", confirmed="yes", typed="100", **fields)
    assert wrong.status_code == 422
    assert "Type 101 to confirm. Nothing was deleted." in wrong.text
    assert bulk.latest(session) == []
    factories.failed_job()
    answer = press(url, verb="delete", confirmed="yes", typed="101", **fields)
    assert answer.status_code == 303, answer.text
    page = answer.headers["Location"]
    bulk.step(session)
    assert "101 deleted" in client.get(page).text
    assert client.get("/api/jobs/stats").json["failed"] == 1


def test_a_small_deletion_needs_confirmation_without_typing(
    client: Any, press: Any, confirm: Any, session: Any, redis: Any
) -> None:
    factories.failed_job()
    question = confirm("/jobs/all?status=failed", "delete").text
    assert "Delete 1 job?" in question
    assert "to confirm" not in main(question)
    fields = scope_in(question, "delete")
    answer = press("/jobs/all?status=failed", verb="delete", confirmed="yes", **fields)
    assert answer.status_code == 303


def test_retrying_cancelled_schedules_is_called_restore(client: Any, session: Any) -> None:
    factories.cancelled_job(run_at=factories._now(9000))
    page = main(client.get("/jobs/all?status=cancelled").text)
    assert "Restore 1 job<" in page
    assert "The jobs return to their schedule." in page
    factories.cancelled_job()
    page = main(client.get("/jobs/all?status=cancelled").text)
    assert "Retry 2 jobs<" in page
    assert "1 of them returns to their schedule. The others run now." in page


def test_the_page_shows_the_current_state_of_the_jobs(
    client: Any, confirm: Any, session: Any, redis: Any
) -> None:
    jobs = [factories.failed_job().id for _ in range(3)]
    page = confirm("/jobs/all?status=failed", "retry").headers["Location"]
    bulk.step(session)
    session.execute(
        text("UPDATE jobs SET status = 'completed', finished_at = now() WHERE id = :id"),
        {"id": jobs[0]},
    )
    session.commit()
    cache.forget()
    text_ = client.get(page).text
    links = dict(re.findall(r'<a id="became-\d" href="([^"]*)">([^<]*)</a>', text_))
    assert sorted(links.values()) == ["1 completed", "2 still waiting"]
    for url, words in links.items():
        rows = client.get(url.replace("&amp;", "&")).text.count("<tr id=")
        assert rows == int(words.split()[0])


def test_an_unknown_verb_and_an_unknown_number(client: Any, press: Any) -> None:
    assert press("/jobs/all", verb="explode").status_code == 422
    assert client.get("/bulk/77").status_code == 404


def test_all_matching_jobs_get_another_priority(
    client: Any, confirm: Any, session: Any, redis: Any
) -> None:
    lifecycle.enqueue(session, [NewJob("echo", {}) for _ in range(2)])
    session.commit()
    assert "Change 2 jobs" in client.get("/jobs/all?status=pending").text
    page = confirm("/jobs/all?status=pending", "edit", priority="7", queue="slow").headers[
        "Location"
    ]
    bulk.step(session)
    text = client.get(page).text
    assert "2 changed" in text
    assert "priority 7, queue slow" in text
    assert {(job["priority"], job["queue"]) for job in client.get("/api/jobs").json} == {
        (7, "slow")
    }


def ids(count: int, maker: Any) -> list[str]:
    return [str(maker().id) for _ in range(count)]


def test_selected_rows_are_acted_on_at_once(
    client: Any, press: Any, session: Any, redis: Any
) -> None:
    failed, done = ids(2, factories.failed_job), ids(1, factories.completed_job)
    assert press("/jobs/selected", verb="retry", ids=[*failed, *done]).status_code == 303
    page = client.get("/jobs").text
    assert "Retrying 2 jobs. 1 skipped: " in page
    assert client.get("/api/jobs/stats").json["pending"] == 2


def test_selected_rows_move_to_another_queue(
    client: Any, press: Any, session: Any, redis: Any
) -> None:
    chosen = ids(2, factories.pending_job)
    press("/jobs/selected", verb="edit", ids=chosen, queue="slow", priority="")
    assert "2 jobs changed." in client.get("/jobs").text
    assert {client.get(f"/api/jobs/{id}").json["queue"] for id in chosen} == {"slow"}


def test_deleting_selected_rows_needs_confirmation(
    client: Any, press: Any, session: Any, redis: Any
) -> None:
    chosen = ids(2, factories.failed_job)
    question = press("/jobs/selected", verb="delete", ids=chosen).text
    assert "Delete 2 jobs?" in question
    assert all(id in question for id in chosen)
    assert client.get("/api/jobs/stats").json["failed"] == 2
    press("/jobs/selected", verb="delete", ids=chosen, confirmed="yes")
    assert client.get("/api/jobs/stats").json["failed"] == 0


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"verb": "retry"}, "select at least one job"),
        ({"verb": "retry", "ids": ["x"]}, "must be job IDs"),
        ({"verb": "explode", "ids": [str(UUID(int=1))]}, "must be one of"),
        ({"verb": "edit", "ids": [str(UUID(int=1))]}, "must be filled in"),
        ({"verb": "edit", "ids": [str(UUID(int=1))], "priority": "101"}, "from -100 to 100"),
        ({"verb": "edit", "ids": [str(UUID(int=1))], "queue": "a b"}, "the first a letter"),
        ({"verb": "retry", "ids": [str(UUID(int=n)) for n in range(101)]}, "must contain 1 to 100"),
    ],
)
def test_invalid_selections_are_refused(press: Any, fields: Any, words: str) -> None:
    answer = press("/jobs/selected", **fields)
    assert answer.status_code == 422
    assert words in answer.text


def test_an_action_that_changes_nothing_is_shown_as_a_problem(
    client: Any, press: Any, session: Any, redis: Any
) -> None:
    press("/jobs/selected", verb="retry", ids=[str(factories.completed_job().id)])
    page = client.get("/jobs").text
    assert "is-problem" in page
    assert "1 skipped: " in page


@pytest.fixture
def uncountable(monkeypatch: Any) -> None:
    """Counting all matches takes too long; two of them are found in time."""
    matching = bulk_scope.matching

    def slowly(filter: Any) -> list[Any]:
        return [*matching(filter), text("(SELECT pg_sleep(0.1)) IS NOT NULL")]

    monkeypatch.setattr(bulk_scope, "EXACT_MILLISECONDS", 20)
    monkeypatch.setattr(bulk_scope, "MAX_MATCHES", 2)
    monkeypatch.setattr(bulk_scope, "matching", slowly)


def test_a_count_that_takes_too_long_is_shown_as_at_least(
    client: Any, session: Any, uncountable: None
) -> None:
    for _ in range(3):
        factories.pending_job(payload={"find": "me"})
    page = client.get("/jobs/all?q=find").text
    assert "At least 2 match; counting all of them takes too long." in page
    assert "Cancel all matching jobs" in page
    assert 'value="delete"' not in page
    assert len(re.findall(r'class="list-name"', page)) == 3


def test_all_matching_jobs_are_changed_even_if_not_all_were_counted(
    confirm: Any, session: Any, uncountable: None
) -> None:
    for _ in range(3):
        factories.pending_job(payload={"find": "me"})

    def arrives() -> None:
        factories.pending_job(payload={"find": "me"})

    assert confirm("/jobs/all?q=find", "cancel", arrives).status_code in (200, 302, 303)
    action = bulk.find(session, 1)
    assert (action.total, action.late) == (3, 1)


def test_jobs_that_were_not_counted_cannot_be_deleted(
    client: Any, press: Any, session: Any, uncountable: None
) -> None:
    for _ in range(3):
        factories.cancelled_job(payload={"find": "me"})
    fields = scope_in(client.get("/jobs/all?q=find").text, "retry")
    assert fields["expected"] == ""
    answer = press("/jobs/all?q=find", **fields, verb="delete", confirmed="yes")
    assert answer.status_code == 422
    assert "exact count" in answer.text
