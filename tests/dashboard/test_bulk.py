"""Everything that matches a list: the preview, the yes, the page that tells how far it is."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from app.jobs import bulk, lifecycle
from app.jobs.lifecycle import NewJob
from tests import factories


def test_from_the_list_to_the_end(client: Any, press: Any, session: Any, redis: Any) -> None:
    lifecycle.enqueue(session, [NewJob("echo", {}, tags=["old"]) for _ in range(3)])
    lifecycle.enqueue(session, [NewJob("echo", {})])
    session.commit()
    assert (
        'href="/jobs/all?status=pending&amp;tag=old"'
        in client.get("/jobs?status=pending&tag=old").text
    )
    preview = client.get("/jobs/all?status=pending&tag=old").text
    assert "Cancel 3 jobs" in preview
    assert "Retry" not in preview.split("<main")[1].split("</main")[0]
    answer = press("/jobs/all?status=pending&tag=old", verb="cancel")
    assert answer.status_code == 303
    page = answer.headers["Location"]
    assert "Running" in client.get(page).text
    assert bulk.step(session) == 3
    told = client.get(page).text
    assert "<b>Finished</b>: 3 done, 0 to go." in told
    assert client.get("/api/jobs/stats").json["cancelled"] == 3
    assert "Cancel 3 jobs" in client.get("/bulk").text


def test_it_can_be_paused_and_cancelled(client: Any, press: Any, session: Any, redis: Any) -> None:
    lifecycle.enqueue(session, [NewJob("echo", {})])
    session.commit()
    page = press("/jobs/all?status=pending", verb="cancel").headers["Location"]
    assert press(f"{page}/pause").status_code == 303
    assert "Paused" in client.get(page).text
    press(f"{page}/resume")
    press(f"{page}/cancel")
    assert "1 were not touched" in client.get(page).text


def test_an_unknown_verb_and_an_unknown_number(client: Any, press: Any) -> None:
    assert press("/jobs/all", verb="explode").status_code == 422
    assert client.get("/bulk/77").status_code == 404


def test_everything_that_matches_gets_another_priority(
    client: Any, press: Any, session: Any, redis: Any
) -> None:
    lifecycle.enqueue(session, [NewJob("echo", {}) for _ in range(2)])
    session.commit()
    assert "Change 2 jobs" in client.get("/jobs/all?status=pending").text
    page = press("/jobs/all?status=pending", verb="edit", priority="7", queue="slow").headers[
        "Location"
    ]
    bulk.step(session)
    told = client.get(page).text
    assert "2 done" in told
    assert "priority 7, queue slow" in told
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


def test_a_delete_of_selected_rows_asks_first(
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
        ({"verb": "retry"}, "select a row"),
        ({"verb": "retry", "ids": ["x"]}, "must be the ids of jobs"),
        ({"verb": "explode", "ids": [str(UUID(int=1))]}, "must be one of"),
        ({"verb": "edit", "ids": [str(UUID(int=1))]}, "must be filled in"),
        ({"verb": "edit", "ids": [str(UUID(int=1))], "priority": "101"}, "from -100 to 100"),
        ({"verb": "edit", "ids": [str(UUID(int=1))], "queue": "a b"}, "the first a letter"),
        ({"verb": "retry", "ids": [str(UUID(int=n)) for n in range(51)]}, "must be 1 to 50"),
    ],
)
def test_what_is_refused_of_a_selection(press: Any, fields: Any, words: str) -> None:
    answer = press("/jobs/selected", **fields)
    assert answer.status_code == 422
    assert words in answer.text


def test_nothing_done_is_a_problem(client: Any, press: Any, session: Any, redis: Any) -> None:
    press("/jobs/selected", verb="retry", ids=[str(factories.completed_job().id)])
    page = client.get("/jobs").text
    assert "is-problem" in page
    assert "1 skipped: " in page
