"""Everything that matches a list: the preview, the yes, the page that tells how far it is."""

from __future__ import annotations

from typing import Any

from app.jobs import bulk, lifecycle
from app.jobs.lifecycle import NewJob


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
