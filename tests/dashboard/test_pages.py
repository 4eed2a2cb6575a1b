"""Every page: in full, as a fragment, empty, and with what belongs on it."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from flask.testing import FlaskClient
from sqlalchemy.exc import OperationalError

from app.jobs import audit, ids, registry
from tests import factories as make
from tests.dashboard.conftest import FILTER, TICK

PAGES = {
    "/": "Overview",
    "/jobs": "All jobs",
    "/jobs?status=failed": "Failed jobs",
    "/failures": "Failures",
    "/failures/dead-letters": "Dead letters",
    "/failures/discarded": "Discarded",
    "/queues": "Queues",
    "/workers": "Workers",
    "/schedules": "Schedules",
    "/limits": "Limits",
    "/jobs?status=waiting": "Waiting jobs",
}


@pytest.mark.parametrize(("url", "title"), PAGES.items())
def test_a_page_works_without_htmx(client: FlaskClient, session: Any, url: str, title: str) -> None:
    make.failed_job()
    answer = client.get(url)
    assert answer.status_code == 200
    assert answer.mimetype == "text/html"
    assert f"<title>{title} · Job queue</title>" in answer.text
    assert len(re.findall(r"<h1\b", answer.text)) == 1
    assert 'id="live"' in answer.text
    assert 'href="#main"' in answer.text


@pytest.mark.parametrize("url", PAGES)
def test_the_live_region_renders_alone(client: FlaskClient, session: Any, url: str) -> None:
    make.failed_job()
    answer = client.get(url, headers=TICK)
    assert answer.status_code == 200
    assert "<html" not in answer.text
    assert "<h1" not in answer.text
    assert answer.text.strip().startswith("<section")
    assert answer.text.count('id="live"') == 1


@pytest.mark.parametrize("url", PAGES)
def test_a_cache_never_mixes_up_pages_and_fragments(client: FlaskClient, url: str) -> None:
    for headers in ({}, TICK):
        answer = client.get(url, headers=headers)
        assert {"HX-Request", "HX-Request-Type"} <= set(answer.vary)
        assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("url", PAGES)
def test_going_back_in_history_gets_the_whole_page(client: FlaskClient, url: str) -> None:
    headers = {"HX-Request-Type": "partial", "HX-History-Restore-Request": "true"}
    assert "<html" in client.get(url, headers=headers).text


@pytest.mark.parametrize("url", PAGES)
def test_a_boosted_page_load_gets_the_whole_page(client: FlaskClient, url: str) -> None:
    headers = {"HX-Request": "true", "HX-Request-Type": "full"}
    assert "<html" in client.get(url, headers=headers).text


def test_pages_are_small(client: FlaskClient, session: Any) -> None:
    for _ in range(50):
        make.failed_job(error="ValueError: " + "boom " * 20, tags=["customer:acme", "region:eu"])
    for url in PAGES:
        assert len(client.get(url).data) < 104_000, url


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("/", "No jobs yet."),
        ("/jobs", "No jobs yet."),
        ("/jobs?status=processing", "No jobs are running."),
        ("/jobs?status=failed", "No failed jobs."),
        ("/jobs?q=nobody", "No results."),
        ("/failures", "No failures."),
        ("/failures?state=resolved", "No resolved groups."),
        ("/failures?q=nobody", "No results."),
        ("/failures/discarded", "Nothing was discarded."),
        ("/failures/dead-letters", "No dead letters."),
        ("/failures/dead-letters?q=nobody", "No results."),
        ("/workers", "No workers are running."),
    ],
)
def test_an_empty_page_says_why_and_what_to_do(client: FlaskClient, url: str, words: str) -> None:
    assert words in client.get(url).text


def test_the_first_page_ever_shows_a_command_to_try(client: FlaskClient) -> None:
    page = client.get("/", base_url="http://localhost:8080").text
    assert "curl -X POST http://localhost:8080/api/jobs" in page


def test_without_workers_the_page_shows_the_command_that_starts_one(
    client: FlaskClient, session: Any
) -> None:
    make.pending_job()
    page = client.get("/").text
    assert "No workers are running." in page
    assert "huey_consumer app.worker.huey" in page
    assert 'class="health is-bad"' in page
    assert "Stalled" in page


def test_the_navigation_shows_counts(client: FlaskClient, session: Any) -> None:
    make.failed_job()
    make.failed_job(is_discarded=True)
    make.processing_job()
    make.worker()
    page = client.get("/workers").text
    badges = dict(re.findall(r'data-count="(nav-[a-z]+)"><data value="(\d+)"', page))
    assert badges == {"nav-processing": "1", "nav-failures": "1", "nav-workers": "1"}
    assert re.search(r'data-count="nav-paused"></span>', page)  # zero shows nothing


def test_the_overview_shows_counts_running_jobs_failures_queues_and_workers(
    client: FlaskClient, session: Any
) -> None:
    make.processing_job(type="report", progress={"percent": 40.0, "note": "page 4"})
    job = make.failed_job(type="mail", fingerprint="0123456789ab")
    make.attempt(job, fingerprint="0123456789ab", error="ValueError: no such user")
    make.worker(host="box-7")
    make.paused_queue("slow")
    page = client.get("/").text
    for words in ("report", 'value="40.0"', "page 4", "no such user", "box-7", "slow", "Paused"):
        assert words in page


class TestJobs:
    @pytest.mark.parametrize("view", make.BY_VIEW)
    def test_a_tab_lists_only_its_view(self, client: FlaskClient, session: Any, view: str) -> None:
        jobs = {name: factory() for name, factory in make.BY_VIEW.items()}
        expected = {str(jobs[view].id)}
        if view == "pending":  # scheduled and retrying are views of pending
            expected |= {str(jobs["scheduled"].id), str(jobs["retrying"].id)}
        assert _rows(client.get(f"/jobs?status={view}").text) == expected

    def test_tabs_show_their_counts(self, client: FlaskClient, session: Any) -> None:
        for factory in make.BY_VIEW.values():
            factory()
        page = client.get("/jobs").text
        counts = dict(re.findall(r'class="tab-count" data-count="(\w+)"><data value="(\d+)"', page))
        assert counts["all"] == "7"
        assert counts["failed"] == counts["scheduled"] == counts["retrying"] == "1"
        assert counts["pending"] == "3"

    @pytest.mark.parametrize(
        "query",
        [
            "type=mail",
            "queue=slow",
            "tag=vip",
            "q=mail",
            "q=tag:vip",
            "q=payload.user:42",
            'q=error:"no+such"',
            "type=mail&status=failed&within=1h",
            "type=&queue=slow&tag=&within=&q=",
            "utm_source=x&queue=slow",
        ],
    )
    def test_filters_narrow_the_list(self, client: FlaskClient, session: Any, query: str) -> None:
        make.failed_job()
        make.completed_job()
        wanted = make.failed_job(
            type="mail", queue="slow", tags=["vip"], payload={"user": 42}, error="no such user"
        )
        assert _rows(client.get(f"/jobs?{query}").text) == {str(wanted.id)}

    def test_an_id_finds_its_job(self, client: FlaskClient, session: Any) -> None:
        make.completed_job(created_ago=90_000)
        wanted = make.completed_job()
        assert _rows(client.get(f"/jobs?q={wanted.id}").text) == {str(wanted.id)}

    def test_a_set_filter_shows_as_a_chip_that_removes_it(
        self, client: FlaskClient, session: Any
    ) -> None:
        page = client.get("/jobs?status=failed&type=mail&tag=vip").text
        assert re.search(r'id="chip-type" href="/jobs\?status=failed&amp;tag=vip"', page)
        assert re.search(r'id="chip-clear" href="/jobs\?status=failed"', page)

    def test_tabs_keep_the_filters_and_drop_their_totals(
        self, client: FlaskClient, session: Any
    ) -> None:
        page = client.get("/jobs?type=mail").text
        assert 'href="/jobs?type=mail&amp;status=failed"' in page
        assert "tab-count" not in page

    def test_pagination_works_in_both_directions(self, client: FlaskClient, session: Any) -> None:
        jobs = [make.completed_job() for _ in range(60)]
        first = client.get("/jobs").text
        assert len(_rows(first)) == 50
        assert _link(first, "prev") is None
        older = _link(first, "next")
        assert older is not None
        second = client.get(older).text
        assert _rows(second) == {str(job.id) for job in jobs[:10]}
        assert _link(second, "next") is None
        newer = _link(second, "prev")
        assert newer is not None
        assert _rows(client.get(newer).text) == _rows(first)

    def test_a_page_of_the_list_refreshes_from_its_own_address(
        self, client: FlaskClient, session: Any
    ) -> None:
        for _ in range(51):
            make.completed_job()
        older = _link(client.get("/jobs?status=completed").text, "next")
        assert older is not None
        region = client.get(older, headers=TICK).text
        assert f'hx-get="{older.replace("&", "&amp;")}"' in region

    @pytest.mark.parametrize(
        ("status", "seconds"), [("failed", 15), ("processing", 4), ("pending", 4)]
    )
    def test_lists_refresh_at_their_own_intervals(
        self, client: FlaskClient, status: str, seconds: int
    ) -> None:
        assert f'data-live="{seconds}"' in client.get(f"/jobs?status={status}", headers=TICK).text

    def test_the_filter_form_gets_an_address_without_blanks(self, client: FlaskClient) -> None:
        answer = client.get("/jobs?status=failed&type=&q=boom&tag=&within=", headers=FILTER)
        assert answer.headers["HX-Replace-Url"] == "/jobs?q=boom&status=failed"
        assert "HX-Replace-Url" not in client.get("/jobs?q=boom", headers=TICK).headers

    @pytest.mark.parametrize(
        "query", ["status=lost", "within=2y", "cursor=x", "q=" + "x" * 201, "status=all"]
    )
    def test_an_invalid_query_is_refused_with_a_message(
        self, client: FlaskClient, query: str
    ) -> None:
        page = client.get(f"/jobs?{query}")
        assert page.status_code == 422
        assert query.split("=")[0] in page.text
        part = client.get(f"/jobs?{query}", headers=FILTER)
        assert part.status_code == 422
        assert 'hx-swap-oob="innerHTML:#flash"' in part.text

    @pytest.mark.parametrize(
        "nasty",
        [
            "%00",
            "%ff",
            "'--",
            "%25",
            "\\",
            "payload.x:%00",
            "tag:%00",
            "id:%00",
            'payload.x:"%5Cu0000"',
        ],
    )
    def test_an_unusual_search_never_breaks_the_page(
        self, client: FlaskClient, session: Any, nasty: str
    ) -> None:
        make.completed_job()
        for name in ("q", "tag", "type", "queue"):
            assert client.get(f"/jobs?{name}={nasty}").status_code in (200, 422)
        assert client.get(f"/failures/dead-letters?q={nasty}").status_code in (200, 422)

    def test_a_row_offers_what_its_status_allows(self, client: FlaskClient, session: Any) -> None:
        for view, factory in make.BY_VIEW.items():
            job = factory()
            row = _row(client.get("/jobs").text, job.id)
            assert ("/retry" in row) == (view in ("failed", "cancelled")), view
            assert ("/cancel" in row) == (
                view in ("pending", "scheduled", "retrying", "processing")
            ), view

    def test_a_stopping_job_says_so_and_cannot_be_cancelled_again(
        self, client: FlaskClient, session: Any
    ) -> None:
        job = make.processing_job(cancel_requested=True)
        row = _row(client.get("/jobs").text, job.id)
        assert "Stopping" in row
        assert "/cancel" not in row

    def test_a_retrying_job_shows_its_last_error_a_completed_one_does_not(
        self, client: FlaskClient, session: Any
    ) -> None:
        retrying = make.retrying_job(error="Traceback\nValueError: last words")
        completed = make.completed_job(last_error="old trouble")
        page = client.get("/jobs").text
        assert "ValueError: last words" in _row(page, retrying.id)
        assert "old trouble" not in _row(page, completed.id)


class TestJob:
    @pytest.mark.parametrize("view", make.BY_VIEW)
    def test_a_job_of_every_status_has_a_page(
        self, client: FlaskClient, session: Any, view: str
    ) -> None:
        job = make.BY_VIEW[view](type="mail", payload={"to": "ada@example.com"})
        page = client.get(f"/jobs/{job.id}")
        assert page.status_code == 200
        assert f'class="status is-{view}"' in page.text
        assert str(job.id) in page.text
        assert "ada@example.com" in page.text
        part = client.get(f"/jobs/{job.id}", headers=TICK).text
        assert part.strip().startswith("<section")

    def test_a_failed_job_shows_its_error_and_timeline(
        self, client: FlaskClient, session: Any
    ) -> None:
        job = make.failed_job(attempts=2, error="ValueError: second", created_ago=100)
        make.attempt(
            job, attempt=1, error="first", started_at=make._now(-60), ended_at=make._now(-59)
        )
        make.attempt(
            job, attempt=2, error="second", traceback="Traceback\n  deep inside\nValueError"
        )
        page = client.get(f"/jobs/{job.id}").text
        assert "Attempt 2 of 2 failed" in page
        assert "ValueError: second" in page
        assert (
            page.index("Attempt 2 failed")
            < page.index("Attempt 1 failed")
            < page.index("<b>Created</b>")
        )
        assert re.search(
            r'<details class="folded" id="traceback-[^"]+"><summary>Traceback</summary>', page
        )
        assert "deep inside" in page

    def test_log_lines_are_kept_in_order_and_the_latest_are_shown(
        self, client: FlaskClient, session: Any
    ) -> None:
        job = make.completed_job()
        for n in range(210):
            session.add(
                make.JobLogLine(job_id=job.id, attempt=1, level="info", message=f"line {n:03d}.")
            )
        session.commit()
        page = client.get(f"/jobs/{job.id}").text
        assert "line 009." not in page
        assert page.index("line 010.") < page.index("line 209.")
        whole = client.get(f"/jobs/{job.id}?log=all").text
        assert "line 000." in whole
        # The region that refreshes itself stays with what was asked for.
        assert "log=all" in re.search(r'id="live"[^>]*hx-get="([^"]+)"', whole)[1]  # type: ignore[index]

    def test_a_running_job_shows_its_progress(self, client: FlaskClient, session: Any) -> None:
        job = make.processing_job(progress={"percent": 61.5, "note": "page 37"})
        page = client.get(f"/jobs/{job.id}").text
        assert 'value="61.5"' in page
        assert "page 37" in page

    @pytest.mark.parametrize(
        "progress", [{"percent": "half"}, {"percent": None}, {"note": 3}, {}, {"percent": 1e400}]
    )
    def test_malformed_progress_breaks_nothing(
        self, client: FlaskClient, session: Any, progress: Any
    ) -> None:
        if progress.get("percent") == float("inf"):
            progress = {"percent": 10**30}
        job = make.processing_job(progress=progress)
        for url in (f"/jobs/{job.id}", "/jobs", "/"):
            assert client.get(url).status_code == 200

    @pytest.mark.parametrize("result", [None, 0, "", [], {}, False, "text", [1, [2]], {"a": None}])
    def test_any_result_is_shown(self, client: FlaskClient, session: Any, result: Any) -> None:
        job = make.completed_job(result=result)
        assert client.get(f"/jobs/{job.id}").status_code == 200

    def test_a_job_that_does_not_exist_is_a_404_page(self, client: FlaskClient) -> None:
        answer = client.get(f"/jobs/{ids.new_id()}")
        assert answer.status_code == 404
        assert "No job has the id" in answer.text
        assert client.get("/jobs/not-a-uuid").status_code == 404

    def test_a_refresh_of_a_deleted_job_is_an_empty_404(self, client: FlaskClient) -> None:
        answer = client.get(f"/jobs/{uuid4()}", headers=TICK)
        assert answer.status_code == 404
        assert answer.text == ""
        assert "HX-Trigger" not in answer.headers  # or the page would look again at once, for ever


class TestDeadLetters:
    def test_open_dead_letters_are_listed_newest_first(
        self, client: FlaskClient, session: Any
    ) -> None:
        old = make.failed_job(finished_ago=60, error="ValueError: old one")
        new = make.failed_job(error="ValueError: new one")
        gone = make.failed_job(is_discarded=True, error="ValueError: gone")
        page = client.get("/failures/dead-letters").text
        assert page.index(str(new.id)) < page.index(str(old.id))
        assert str(gone.id) not in page
        assert "/retry" in page
        assert "/discard" in page

    def test_dead_letters_are_filtered_by_type_and_reason(
        self, client: FlaskClient, session: Any
    ) -> None:
        make.failed_job(type="mail")
        wanted = make.failed_job(type="report", error="disk is full")
        for query in ("type=report", "q=disk+is", "type=report&q=full"):
            page = client.get(f"/failures/dead-letters?{query}").text
            assert re.findall(r'<tr id="dead-([^"]+)"', page) == [str(wanted.id)]


class TestQueues:
    def test_each_queue_shows_its_backlog_and_a_pause_button(
        self, client: FlaskClient, session: Any
    ) -> None:
        make.pending_job(queue="mail", due_in=-90)
        make.scheduled_job(queue="mail")
        make.paused_queue("slow")
        page = client.get("/queues").text
        assert 'action="/queues/mail/pause"' in page
        assert 'action="/queues/slow/resume"' in page
        assert re.search(r'data-label="Ready"><data value="1"', page)
        assert "1 min 3" in page  # the oldest wait

    def test_any_name_makes_a_valid_id(self, client: FlaskClient, session: Any) -> None:
        make.pending_job(queue='a"b <c> d')
        make.pending_job(queue="a/b")
        page = client.get("/queues").text
        assert 'id="queue-a_22_b_20__3c_c_3e__20_d"' in page
        assert 'action="/queues/a/b/pause"' in page


class TestWorkers:
    def test_each_worker_shows_its_state_threads_and_running_jobs(
        self, client: FlaskClient, session: Any
    ) -> None:
        worker_id, since = uuid4(), make.datetime.now(make.UTC).isoformat()
        job = make.processing_job(type="report", attempts=2, worker_id=worker_id)
        make.worker(
            id=worker_id,
            host="busy-box",
            running=[{"jobId": str(job.id), "type": "report", "attempt": 2, "since": since}],
        )
        make.worker(host="lost-box", silent_for=120)
        make.worker(host="done-box", stopped_ago=30)
        page = client.get("/workers").text
        for words in ("busy-box", "Busy", "attempt 2", "lost-box", "Silent", "done-box", "Stopped"):
            assert words in page
        assert 'aria-label="1 of 5 threads busy"' in page

    def test_the_short_id_is_that_of_the_job_page(self, client: FlaskClient, session: Any) -> None:
        worker_id = uuid4()
        job = make.processing_job(worker_id=worker_id)
        make.worker(id=worker_id)
        for url in ("/", "/workers", f"/jobs/{job.id}"):
            assert str(worker_id)[-8:] in client.get(url).text, url

    def test_jobs_that_ended_since_the_heartbeat_are_not_running(
        self, client: FlaskClient, session: Any
    ) -> None:
        worker_id = uuid4()
        ended, running, again, elsewhere, stuck = (
            make.completed_job(worker_id=worker_id), make.processing_job(worker_id=worker_id),
            make.processing_job(worker_id=worker_id, attempts=2), make.processing_job(), make.failed_job(),
        )  # fmt: skip
        reported = [
            {
                "jobId": str(job.id),
                "type": "x",
                "attempt": 1,
                "since": None,
                "isOverdue": job is stuck,
            }
            for job in (ended, running, again, elsewhere, stuck)
        ]
        make.worker(id=worker_id, running=reported)
        page = client.get("/workers").text
        assert re.findall(r'id="run-([^"]+)"', page) == [str(running.id), str(stuck.id)]
        assert "Finished since the last heartbeat: 3 of 5 running jobs." in page

    @pytest.mark.parametrize("since", [None, "yesterday", "2026-05-04T10:00:00"])
    def test_a_malformed_heartbeat_breaks_nothing(
        self, client: FlaskClient, session: Any, since: Any
    ) -> None:
        make.worker(running=[{"jobId": str(uuid4()), "type": "x", "attempt": 1, "since": since}])
        assert client.get("/workers").status_code == 200


def test_unknown_addresses_and_methods_get_a_page(client: FlaskClient) -> None:
    missing = client.get("/nowhere")
    assert missing.status_code == 404
    assert "Page not found" in missing.text
    assert "Overview" in missing.text
    wrong = client.delete("/jobs")
    assert wrong.status_code == 405
    assert "<html" in wrong.text


def _rows(page: str) -> set[str]:
    return set(re.findall(r'<tr id="job-([^"]+)"', page))


def _row(page: str, job_id: Any) -> str:
    found = re.search(rf'<tr id="job-{job_id}".*?</tr>', page, re.S)
    assert found, f"no row of {job_id}"
    return found[0]


def _link(page: str, rel: str) -> str | None:
    found = re.search(rf'rel="{rel}" href="([^"]+)"', page)
    return found[1].replace("&amp;", "&") if found else None


def test_a_log_is_divided_by_attempt_and_a_limit_of_the_type_is_shown(
    client: FlaskClient, session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make.failed_job(type="echo", attempts=2)
    for attempt in (1, 1, 2):
        make.log_line(job, f"line of {attempt}", attempt=attempt)
    limited = replace(registry.get("echo"), timeout=90.0)
    monkeypatch.setattr(registry, "find", lambda name: limited)
    page = client.get(f"/jobs/{job.id}").text
    assert re.findall(r'class="log-attempt">(Attempt \d)', page) == ["Attempt 1", "Attempt 2"]
    assert "1 min 30 s (default of the job type)" in page
    assert (
        "(default of the job type)"
        not in client.get(f"/jobs/{make.failed_job(timeout_seconds=3.0).id}").text
    )


def test_an_outage_page_offers_a_retry_and_reloads_by_itself(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise OperationalError("SELECT", {}, Exception("gone"))

    monkeypatch.setattr("app.jobs.listing.list_jobs", away)
    page = client.get("/jobs?status=failed")
    assert page.status_code == 503
    assert 'href="/jobs?status=failed">Try again</a>' in page.text
    assert '<meta http-equiv="refresh" content="10">' in page.text
    assert "http-equiv" not in client.get("/nowhere").text


def test_api_examples_use_the_address_of_this_server(client: FlaskClient) -> None:
    page = client.get("/api/docs", base_url="http://localhost:3411").text
    assert "curl http://localhost:3411/api/jobs" in page
    assert "localhost:3000" not in page


def test_jobs_claimed_ahead_are_explained(client: FlaskClient, session: Any) -> None:
    make.worker(threads=2)
    [make.processing_job() for _ in range(3)]
    note = client.get("/jobs?status=processing").text.partition('id="waiting-ahead">')[2]
    words = re.sub("<[^>]*>", "", note.partition("</p>")[0])
    assert (
        words
        == "Workers have claimed 3 jobs and have 2 threads: 1 job is waiting for a free thread."
    )
    assert "waiting-ahead" not in client.get("/jobs").text


def test_a_job_names_the_schedule_that_made_it(client: FlaskClient, session: Any) -> None:
    job, manual = make.completed_job(), make.completed_job()
    schedule = make.schedule("nightly")
    make.tick(schedule, ago=90, job_id=job.id)
    make.tick(schedule, ago=60, job_id=manual.id, outcome="manual")
    for made, name in ((job, "nightly"), (manual, "nightly (run now)")):
        text = client.get(f"/jobs/{made.id}").text
        assert f'href="/schedules/nightly"><bdi>{name}</bdi>' in text
    assert "Made by schedule" not in client.get(f"/jobs/{make.completed_job().id}").text


def test_the_audit_log_leads_to_schedules_and_limits(client: FlaskClient, session: Any) -> None:
    audit.record(session, "ada", "schedule.pause", "nightly")
    audit.record(session, "ada", "limit.key.pause", "stripe", {"key": "42"})
    audit.record(session, "ada", "limit.attach", "stripe")
    session.commit()
    text = client.get("/audit").text
    assert 'href="/schedules/nightly"><bdi>nightly</bdi>' in text
    assert (
        'href="/limits/stripe"><bdi>stripe</bdi></a> <span class="muted">key <bdi>42</bdi>' in text
    )
