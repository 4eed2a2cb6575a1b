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
from app.dashboard.present import bulk_words
from app.dashboard.views import bulk as bulk_view
from app.jobs import bulk, lifecycle
from app.jobs.bulk import chunks
from app.jobs.bulk import scope as bulk_scope
from app.jobs.bulk.tickets import Ticket
from app.jobs.lifecycle import NewJob
from app.jobs.listing import JobFilter
from tests import factories


@pytest.fixture
def confirm(client: Any, press: Any, session: Any) -> Any:
    """Opens the page of the verb and presses its button, as a browser would; then the grace period passes."""

    def confirm(url: str, verb: str, between: Any = None, **fields: Any) -> Any:
        page = client.get(with_verb(url, verb)).text
        if between:
            between()
        answer = press(url.replace("&amp;", "&"), **ticket_in(page), verb=verb, **fields)
        pass_grace(session)
        return answer

    return confirm


def with_verb(url: str, verb: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}verb={verb}"


def pass_grace(session: Any) -> None:
    session.execute(text("UPDATE bulk_actions SET next_at = least(next_at, now())"))
    session.commit()


def ticket_in(page: str) -> dict[str, str]:
    """The hidden field that says what was previewed."""
    return {"preview": re.search('name="preview" value="([^"]*)"', page)[1]}  # type: ignore[index]


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
    assert "Cancel 3 jobs…" in preview
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
    assert press(f"{page}/pause").status_code == 303
    assert "Paused" in client.get(page).text
    press(f"{page}/resume")
    press(f"{page}/stop")
    assert "<b>Undone</b>: No jobs were changed." in client.get(page).text


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
    assert "it is missing or incomplete" in answer.text
    assert bulk.latest(session) == []


@pytest.mark.parametrize(
    ("verb", "url"), [("cancel", "/jobs/all?status=pending"), ("retry", "/jobs/all?status=pending&queue=q")]
)  # fmt: skip
def test_a_preview_of_another_verb_or_filter_is_refused(
    client: Any, press: Any, session: Any, verb: str, url: str
) -> None:
    factories.failed_job()
    fields = ticket_in(client.get("/jobs/all?status=failed&verb=retry").text)
    answer = press(url, verb=verb, **fields)
    assert answer.status_code == 422
    assert "it is of another verb or filter" in answer.text


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
    fields = ticket_in(question.text)
    wrong = press(url, verb="delete", confirmed="yes", typed="100", **fields)
    assert wrong.status_code == 422
    assert "Type 101 to confirm. Nothing was changed." in wrong.text
    assert bulk.latest(session) == []
    factories.failed_job()
    answer = press(url, verb="delete", confirmed="yes", typed="101", **fields)
    assert answer.status_code == 303, answer.text
    page = answer.headers["Location"]
    pass_grace(session)
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
    fields = ticket_in(question)
    answer = press("/jobs/all?status=failed", verb="delete", confirmed="yes", **fields)
    assert answer.status_code == 303


def test_retrying_cancelled_schedules_is_called_restore(client: Any, session: Any) -> None:
    factories.cancelled_job(run_at=factories._now(9000))
    page = main(client.get("/jobs/all?status=cancelled").text)
    assert "Restore 1 job…" in page
    assert "The jobs return to their schedule." in page
    factories.cancelled_job()
    page = main(client.get("/jobs/all?status=cancelled").text)
    assert "Retry 2 jobs…" in page
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

    assert confirm("/jobs/all?q=find", "cancel", arrives, confirmed="yes").status_code == 303
    action = bulk.find(session, 1)
    assert (action.total, action.late) == (3, 1)


def test_jobs_that_were_not_counted_cannot_be_deleted(
    client: Any, press: Any, session: Any, uncountable: None
) -> None:
    for _ in range(3):
        factories.cancelled_job(payload={"find": "me"})
    assert 'id="bulk-confirm"' not in client.get("/jobs/all?q=find&verb=delete").text
    scope = bulk_scope.take_scope(session)
    ticket = Ticket.of("delete", JobFilter(search="find"), scope, None)
    answer = press("/jobs/all?q=find", verb="delete", confirmed="yes", preview=str(ticket))
    assert answer.status_code == 422
    assert "exact count" in answer.text


def schedule(session: Any, n: int, **more: Any) -> None:
    lifecycle.enqueue(session, [NewJob("echo", delay_seconds=3600, **more) for _ in range(n)])
    session.commit()


def test_one_sentence_says_what_happens_and_to_which_jobs(client: Any, session: Any) -> None:
    schedule(session, 2, queue="reports")
    schedule(session, 1, queue="mail")
    factories.retrying_job(type="sleep", queue="mail")
    page = main(client.get("/jobs/all?status=pending&verb=cancel").text)
    assert "<h1>Cancel 4 jobs?</h1>" in page
    sentence = re.sub("<[^>]*>", "", re.search('id="bulk-sentence">(.*?)</p>', page)[1])  # type: ignore[index]
    assert sentence.startswith("Cancel 4 jobs of 2 types in 2 queues, scheduled for ")
    rows = re.findall(r'<th scope="row">(.*?)</th><td class="number">(.*?)</td>', page)
    counted = {re.sub("<[^>]*>", "", name): n for name, n in rows}
    assert counted == {
        "echo": "3", "sleep": "1", "reports": "2", "mail": "2", "Scheduled": "3", "Retrying": "1",
    }  # fmt: skip
    assert page.count('id="bulk-confirm"') == 1
    assert ">Cancel 4 jobs</button>" in page


@pytest.mark.parametrize(("verb", "status"), [("cancel", "scheduled"), ("discard", "failed")])
def test_above_a_hundred_the_count_is_typed_for_every_destructive_verb(
    client: Any, press: Any, session: Any, redis: Any, verb: str, status: str, monkeypatch: Any
) -> None:
    for module in (bulk_words, bulk_view):
        monkeypatch.setattr(module, "ASKS_ABOVE", 1)
    for _ in range(2):
        factories.BY_VIEW[status]()
    url = f"/jobs/all?status={status}"
    page = client.get(with_verb(url, verb)).text
    assert 'data-type="2"' in page
    question = press(url, verb=verb, **ticket_in(page), per_second="10")
    assert "Type 2 to confirm" in question.text
    fields = ticket_in(question.text) | {"per_second": "10", "confirmed": "yes"}
    assert press(url, verb=verb, **fields, typed="3").status_code == 422
    assert press(url, verb=verb, **fields, typed="2").status_code == 303
    assert bulk.latest(session)[0].per_second == 10


def test_an_action_waits_and_can_be_undone_before_it_begins(
    client: Any, press: Any, session: Any, redis: Any
) -> None:
    schedule(session, 3)
    fields = ticket_in(client.get("/jobs/all?status=scheduled&verb=cancel").text)
    page = press("/jobs/all?status=scheduled", verb="cancel", **fields).headers["Location"]
    text_ = client.get(page).text
    assert "<b>Starts " in text_
    assert "<b>Starting</b>: No jobs have been changed yet." in text_
    session.execute(text("UPDATE bulk_actions SET next_at = now()"))
    session.commit()
    assert (
        "<b>Running</b>: No jobs have been changed yet, waiting for a worker."
        in client.get(page).text
    )
    session.execute(text("UPDATE bulk_actions SET next_at = now() + interval '5 s'"))
    session.commit()
    assert bulk.step(session) == 0
    assert press(f"{page}/undo").headers["Location"].endswith(page)
    pass_grace(session)
    assert bulk.step(session) == 0
    assert "undone before it started. No jobs were changed." in client.get(page).text
    assert client.get("/api/jobs/stats").json["pending"] == 3


def test_a_button_pressed_twice_starts_one_action(
    client: Any, press: Any, session: Any, redis: Any
) -> None:
    schedule(session, 1)
    fields = ticket_in(client.get("/jobs/all?status=scheduled&verb=cancel").text)
    pages = {
        press("/jobs/all?status=scheduled", verb="cancel", **fields).headers["Location"]
        for _ in range(2)
    }
    assert len(pages) == 1


def test_an_undo_is_a_bulk_action_and_each_links_to_the_other(
    client: Any, press: Any, confirm: Any, session: Any, redis: Any
) -> None:
    schedule(session, 3)
    page = confirm("/jobs/all?status=scheduled", "cancel").headers["Location"]
    bulk.step(session)
    assert "Undo for 3 jobs" in client.get(page).text
    undoing = press(f"{page}/undo").headers["Location"]
    pass_grace(session)
    bulk.step(session)
    cache.forget()
    shown = client.get(undoing).text
    assert "Undo “Cancel 3 jobs”" in shown
    assert "<b>Finished</b>: 3 restored." in shown
    assert re.search('id="became-1" href="[^"]*">3 waiting<', shown)
    assert 'id="bulk-source"' in shown
    assert 'id="bulk-undo-link"' in client.get(page).text
    assert "Undo “Cancel 3 jobs”" in client.get("/bulk").text
    again = press(f"{page}/undo")
    assert again.status_code == 409
    assert "was undone, by bulk action" in again.text
    audit = client.get("/audit").text
    assert "bulk.undo" in audit
    assert f'href="{undoing}"' in audit


def test_the_outcome_adds_up_while_the_action_runs(
    client: Any, confirm: Any, session: Any, redis: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(chunks, "CHUNK", 2)
    jobs = [factories.failed_job().id for _ in range(5)]
    page = confirm("/jobs/all?status=failed", "retry").headers["Location"]
    bulk.step(session)
    session.execute(
        text("UPDATE jobs SET status = 'completed', finished_at = now() WHERE id = :id"),
        {"id": jobs[0]},
    )
    session.commit()
    shown = client.get(page).text
    assert "<b>Running</b>: 2 retried, 3 remaining." in shown
    links = dict(re.findall(r'<a id="became-\d" href="([^"]*)">([^<]*)</a>', shown))
    assert "2 retried, now: " in shown
    assert sorted(links.values()) == ["1 completed", "1 still waiting"]
    for url in links:
        assert client.get(url.replace("&amp;", "&")).text.count("<tr id=") == 1


def test_a_speed_that_is_no_number_is_refused(client: Any, press: Any, session: Any) -> None:
    factories.failed_job()
    fields = ticket_in(client.get("/jobs/all?status=failed&verb=retry").text)
    for speed in ("0", "x", "-1", "10001"):
        answer = press("/jobs/all?status=failed", verb="retry", per_second=speed, **fields)
        assert answer.status_code == 422
        assert "from 1 to 10000" in answer.text


@pytest.mark.parametrize("verb", ["cancel", "run", "edit"])
def test_what_was_done_to_selected_jobs_can_be_undone(
    client: Any, press: Any, session: Any, redis: Any, verb: str
) -> None:
    chosen = ids(2, factories.scheduled_job)
    before = {id: client.get(f"/api/jobs/{id}").json | {"updatedAt": None} for id in chosen}
    press("/jobs/selected", verb=verb, ids=chosen, queue="slow", priority="")
    [link] = re.findall('id="flash-link" href="([^"]*)">Undo…', client.get("/jobs").text)
    page = client.get(link).text
    assert "Selected jobs" in page
    assert "Undo for 2 jobs" in page
    press(f"{link}/undo")
    pass_grace(session)
    assert bulk.step(session) == 2
    after = {id: client.get(f"/api/jobs/{id}").json | {"updatedAt": None} for id in chosen}
    assert after == before
    events = session.execute(text("SELECT action, details FROM audit_events ORDER BY id")).all()
    assert [event.action for event in events] == [f"job.{verb}", "bulk.undo"]
    assert events[0].details["bulk"] == 1


def test_selected_jobs_that_did_not_change_leave_no_bulk_action(
    client: Any, press: Any, session: Any, redis: Any
) -> None:
    press("/jobs/selected", verb="retry", ids=ids(2, factories.completed_job))
    assert "2 skipped: " in client.get("/jobs").text
    press("/jobs/selected", verb="cancel", ids=ids(1, factories.pending_job))
    assert "1 job cancelled" in client.get("/jobs").text
    assert bulk.latest(session) == []
