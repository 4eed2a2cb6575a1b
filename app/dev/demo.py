"""Sample work for a running system, sent through its HTTP API as any client would."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import urllib3

from app.dev import DevError

Job = dict[str, Any]
FIRST_BATCH = 300
JOBS_PER_SECOND = 4.0
REPORT_EVERY_SECONDS = 5.0
CUSTOMERS = ("acme", "globex", "initech", "umbrella", "hooli", "stark")
REGIONS = ("eu", "us", "apac")
#: After the first response, the demo retries during an outage for up to this time.
OUTAGE_SECONDS, RETRY_SECONDS = 60.0, 1.0
SUBJECTS = ("Your invoice", "Welcome aboard", "Weekly digest", "Password changed", "Order shipped")


def fill(url: str, *, seconds: float | None) -> int:
    """Sends a first batch, then a trickle for ``seconds`` (None: until Ctrl-C); the exit code.

    ``url`` is the system's base URL. Raises DevError if nothing answers there,
    it refuses, or an outage lasts longer than OUTAGE_SECONDS.
    """
    api = Api(url)
    end_at = time.monotonic() + seconds if seconds is not None else float("inf")
    jobs = sample(url)
    for name, limit in limits().items():
        api.put_limit(name, limit["limit"], limit["over"])
    sent = api.send_many([*itertools.islice(jobs, FIRST_BATCH), *someday()])
    for name, schedule in schedules().items():
        api.put_schedule(name, schedule)
    print(f"{sent} jobs sent, some limits and schedules created; watch them at {url}", flush=True)
    report_at = time.monotonic()
    try:
        while time.monotonic() < end_at:
            if time.monotonic() >= report_at:
                print(api.stats(), flush=True)
                report_at += REPORT_EVERY_SECONDS
            api.send(next(jobs))
            # Waits like those of independent clients: bursts and pauses.
            pause = min(random.expovariate(JOBS_PER_SECOND), end_at - time.monotonic(), 2)
            time.sleep(max(pause, 0))
    except KeyboardInterrupt:
        pass
    print(api.stats(), flush=True)
    return 0


class Api:
    """The few calls the demo needs."""

    def __init__(self, url: str) -> None:
        """Remembers the base URL; nothing is sent yet."""
        self._url = url
        self._http = urllib3.PoolManager(timeout=30, retries=False)
        self._is_known = self._is_out = False

    def send(self, job: Job) -> None:
        """Creates one job."""
        self._call("POST", "/api/jobs", job)

    def send_many(self, jobs: list[Job]) -> int:
        """Creates all or none; how many."""
        count: int = self._call("POST", "/api/jobs/bulk", {"jobs": jobs})["count"]
        return count

    def put_schedule(self, name: str, schedule: dict[str, Any]) -> None:
        """Creates or replaces a schedule."""
        self._call("PUT", f"/api/schedules/{name}", schedule)

    def stats(self) -> str:
        """The counts in one line."""
        counts = self._call("GET", "/api/jobs/stats")
        return "  ".join(f"{name} {count}" for name, count in counts.items())

    def put_limit(self, name: str, limit: dict[str, Any], over: str) -> None:
        """Creates or replaces a limit, and puts ``over`` (the path of a type or queue) under it."""
        self._call("PUT", f"/api/limits/{name}", limit)
        self._call("PUT", f"/api/{over}/limit", {"limit": name})

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        """The response. Waits through an outage once the system has responded. Raises DevError."""
        give_up_at = time.monotonic() + OUTAGE_SECONDS
        while True:
            response = self._try(method, path, body)
            if response is not None and response.status < 400:
                self._is_known, self._is_out = True, False
                return response.json()
            problem = self._problem(method, path, response)
            # The same request would be refused again; a failure of server or network may be temporary.
            may_pass = response is None or response.status == 429 or response.status >= 500
            if not self._is_known or not may_pass or time.monotonic() >= give_up_at:
                raise DevError(problem)
            if not self._is_out:
                print(f"{problem} Retrying for {OUTAGE_SECONDS:.0f} s.", flush=True)
            self._is_out = True
            time.sleep(RETRY_SECONDS)

    def _try(self, method: str, path: str, body: Any) -> urllib3.BaseHTTPResponse | None:
        try:
            return self._http.request(method, self._url + path, json=body)
        except urllib3.exceptions.HTTPError:
            return None

    def _problem(self, method: str, path: str, response: urllib3.BaseHTTPResponse | None) -> str:
        if response is not None:
            return f"{method} {path} was refused ({response.status}): {_message(response)}"
        if self._is_known:
            return f"{self._url} doesn't respond."
        return (
            f"No response from {self._url}; start the system with `make run` in another terminal. "
            "If it uses another port, set it: `make demo PORT=3400`."
        )


def _message(response: urllib3.BaseHTTPResponse) -> str:
    try:
        return str(response.json()["message"])
    except (ValueError, KeyError, TypeError):
        return response.data.decode(errors="replace")[:200]


def sample(url: str) -> Iterator[Job]:
    """Endless work of the common kinds, most of it successful."""
    makers: dict[Callable[[str], Job], int] = {
        _echo: 30,
        _sleep: 22,
        _send_email: 18,
        _http_request: 12,
        _fail_then_succeed: 9,
        _fail_for_good: 3,
        _missing_page: 3,
        _soon: 3,
    }
    while True:
        [make] = random.choices(list(makers), list(makers.values()))
        job = make(url)
        customer, region = random.choice(CUSTOMERS), random.choice(REGIONS)
        yield {"tags": [f"customer:{customer}", f"region:{region}"], **job}


def someday() -> Iterator[Job]:
    """Work for later, so that the list of scheduled jobs has something to show."""
    for hours in (0.25, 1, 2, 6, 12, 24, 48):
        yield {
            "type": "echo",
            "queue": "reports",
            "payload": {"report": "revenue", "period_hours": hours},
            "delay": hours * 3600,
            "tags": ["report"],
        }


def limits() -> dict[str, dict[str, Any]]:
    """Limits by name, and what is under them: the first batch of jobs waits at them for a while."""
    mail = {"by": "to", "rate": {"count": 2, "perSeconds": 1}, "perKey": {"concurrency": 1}}
    return {
        "mail": {"limit": mail, "over": "job-types/send-email"},
        "reports": {"limit": {"concurrency": 3}, "over": "queues/reports"},
    }


def schedules() -> dict[str, dict[str, Any]]:
    """By name: in two time zones, and two intervals that end after an hour, one of them slower than its interval."""
    end = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    return {
        "heartbeat": {"type": "echo", "everySeconds": 10, "payload": {"check": "stock"}, "tickField": "at", "endsAt": end},
        "slow-import": {"type": "sleep", "everySeconds": 5, "payload": {"seconds": 12}, "endsAt": end},
        "revenue-report": {
            "type": "echo", "queue": "reports", "cron": "30 2 * * *", "timeZone": "Europe/Berlin",
            "payload": {"report": "revenue"}, "tickField": "for", "tags": ["report"],
        },
        "weekday-digest": {
            "type": "echo", "queue": "mail", "cron": "0 9 * * MON-FRI", "timeZone": "America/New_York",
            "payload": {"digest": "orders"}, "jitterSeconds": 60,
        },
    }  # fmt: skip


def _echo(url: str) -> Job:
    order = {"order": random.randint(10_000, 99_999), "total": round(random.uniform(5, 500), 2)}
    return {"type": "echo", "payload": order, "priority": random.choice((0, 0, 0, 10, -10))}


def _sleep(url: str) -> Job:
    seconds = round(random.choice((0.05, 0.1, 0.2, 0.5, 1, 2, 6)) * random.uniform(0.5, 1.5), 2)
    return {"type": "sleep", "payload": {"seconds": seconds}, "queue": "reports"}


def _send_email(url: str) -> Job:
    to = f"{random.choice(CUSTOMERS)}{random.randint(1, 99)}@example.com"
    subject = random.choice(SUBJECTS)
    payload = {"to": to, "subject": subject, "body": f"{subject}. Thank you for trying the demo."}
    return {"type": "send-email", "payload": payload, "queue": "mail", "priority": 20}


def _http_request(url: str) -> Job:
    return {"type": "http-request", "payload": {"method": "GET", "url": f"{url}/health"}}


def _fail_then_succeed(url: str) -> Job:
    times = random.choice((1, 1, 2, 3))
    payload = {"times": times, "message": "ConnectionError: warehouse did not respond"}
    return {"type": "fail", "payload": payload}


def _fail_for_good(url: str) -> Job:
    message = random.choice(("card was declined", "account is closed", "file has no rows"))
    return {"type": "fail", "payload": {"permanent": True, "message": message}}


def _missing_page(url: str) -> Job:
    return {"type": "http-request", "payload": {"method": "GET", "url": f"{url}/not-there"}}


def _soon(url: str) -> Job:
    return {"type": "echo", "payload": {"reminder": True}, "delay": random.randint(20, 600)}
