"""Every page and endpoint with one and with ten million jobs in the table: p50 and p95 in ms."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator

from benchmarks import http as measure
from benchmarks import programs

#: Among how many error groups the failed jobs are spread.
GROUPS = 5000
#: Of 1,000 jobs: how many stand in which status.
SHARES = "CASE WHEN n %% 1000 < 20 THEN 'pending' WHEN n %% 1000 < 35 THEN 'failed' WHEN n %% 1000 < 45 THEN 'cancelled' ELSE 'completed' END"  # fmt: skip
_FILL = f"""
INSERT INTO jobs (id, queue, type, payload, priority, status, attempts, run_at, tags, result, last_error, fingerprint,
                  created_at, updated_at, started_at, finished_at)
SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || substr(md5(n::text), 1, 3)
        || '8' || substr(md5(n::text), 4, 15))::uuid,
       (ARRAY['default', 'mail', 'media', 'reports'])[1 + n %% 4], 'type-' || n %% 20,
       jsonb_build_object('user_id', n %% 1000003, 'to', 'user' || n || '@example.com'), (n %% 3) - 1, status,
       CASE status WHEN 'pending' THEN (n / 1000 %% 2)::int ELSE 1 END,
       CASE WHEN status = 'pending' AND n %% 3 = 0 THEN now() + interval '1 day' ELSE at END,
       CASE WHEN n %% 50 = 0 THEN ARRAY['customer-' || n %% 5000] ELSE '{{}}' END,
       CASE status WHEN 'completed' THEN '{{"sent": true}}'::jsonb END,
       CASE status WHEN 'failed' THEN 'TimeoutError: no answer from host ' || n %% 100 END,
       CASE status WHEN 'failed' THEN left(md5((n / 7 %% {GROUPS})::text), 12) END,
       at, at + interval '1 s', CASE WHEN status <> 'pending' THEN at END,
       CASE WHEN status <> 'pending' THEN at + interval '1 s' END
FROM (SELECT n, {SHARES} AS status, now() - interval '7 days' * (1 - n::float8 / %s) AS at
      FROM generate_series(%s, %s) AS n) AS numbered
"""
_AFTER = (
    (
        "INSERT INTO dead_letters (job_id, queue, type, payload, reason, attempts, failed_at)"
        " SELECT id, queue, type, payload, last_error, attempts, finished_at FROM jobs WHERE status = 'failed'"
    ),
    (
        "INSERT INTO job_attempts (job_id, lease_token, attempt, outcome, error, error_class, fingerprint, started_at, ended_at)"
        " SELECT id, gen_random_uuid(), 1, 'failed', last_error, 'TimeoutError', fingerprint, started_at, finished_at"
        " FROM jobs WHERE status = 'failed'"
    ),
    (
        "INSERT INTO error_groups (fingerprint, type, error_class, outcome, first_seen_at, last_seen_at, state)"
        " SELECT a.fingerprint, min(j.type), 'TimeoutError', 'failed', min(a.ended_at), max(a.ended_at), 'known'"
        " FROM job_attempts a JOIN jobs j ON j.id = a.job_id GROUP BY 1"
    ),
    (
        "INSERT INTO error_group_hours SELECT fingerprint, date_trunc('hour', ended_at, 'UTC'), count(*)"
        " FROM job_attempts WHERE ended_at > now() - interval '1 day' GROUP BY 1, 2"
    ),
    "INSERT INTO job_counters SELECT queue, type, status, count(*) FROM jobs GROUP BY 1, 2, 3",
    "VACUUM ANALYZE jobs",
    "VACUUM ANALYZE dead_letters",
    "VACUUM ANALYZE job_attempts",
    "CHECKPOINT",
)


def fill(rows: int) -> None:
    """``rows`` jobs of the last seven days. Triggers and indexes wait, or it would take an hour."""
    programs.empty()
    keep = ("jobs_pkey", "uq_jobs_unique_key")
    found = programs.scalar(
        "SELECT json_object_agg(indexname, indexdef) FROM pg_indexes WHERE tablename = 'jobs'"
    )
    indexes = {name: made for name, made in found.items() if name not in keep}
    programs.scalar("SET session_replication_role = replica")
    for name in indexes:
        programs.scalar(f"DROP INDEX {name}")
    for first in range(1, rows + 1, 500_000):
        programs.scalar(_FILL, rows, first, min(first + 499_999, rows))
    for made in indexes.values():
        programs.scalar(made)
    for statement in _AFTER:
        programs.scalar(statement)
    programs.scalar("SET session_replication_role = DEFAULT")


def addresses() -> Iterator[tuple[str, str]]:
    """(what it is, path)"""
    middle = programs.scalar("SELECT id::text FROM jobs WHERE status = 'completed' AND id > "
                             "(SELECT id FROM jobs ORDER BY id LIMIT 1) ORDER BY id LIMIT 1")  # fmt: skip
    fingerprint = programs.scalar(
        "SELECT fingerprint FROM jobs WHERE fingerprint IS NOT NULL LIMIT 1"
    )
    yield "stats", "/api/jobs/stats"
    yield "API list", "/api/jobs"
    yield "API list, 500", "/api/jobs?limit=500"
    for status in ("pending", "processing", "completed", "failed", "cancelled"):
        yield f"API list, {status}", f"/api/jobs?status={status}"
    yield "API list, type and status", "/api/jobs?type=type-7&status=failed"
    yield "API list, tag", "/api/jobs?tag=customer-50"
    yield "API list, offset 10,000", "/api/jobs?offset=10000"
    yield "API list, id prefix", f"/api/jobs?search={middle[:13]}"
    yield "API, one job", f"/api/jobs/{middle}"
    yield "API dead letters", "/api/dead-letters"
    yield "API queues", "/api/queues"
    yield "API job types", "/api/job-types"
    yield "health", "/health"
    yield "page Overview", "/"
    yield "page Jobs", "/jobs"
    for view in (
        "pending",
        "scheduled",
        "retrying",
        "processing",
        "completed",
        "failed",
        "cancelled",
    ):
        yield f"page Jobs, {view}", f"/jobs?status={view}"
    yield "page Jobs, type and queue", "/jobs?type=type-7&queue=media"
    yield "page Jobs, last hour", "/jobs?within=1h"
    yield "page Jobs, payload.user_id", "/jobs?q=payload.user_id:42"
    yield "page Jobs, error text", "/jobs?q=error:host+42"
    yield "page Jobs, text without a match", "/jobs?q=nosuchword"
    yield "page Job", f"/jobs/{middle}"
    yield "page Dead letters", "/failures/dead-letters"
    yield "page Failures", "/failures"
    yield "page Failures, all", "/failures?state=all"
    yield "page Discarded", "/failures/discarded"
    yield "API error groups", "/api/error-groups?state=all"
    yield "page Jobs, of one failure", f"/jobs?fingerprint={fingerprint}"
    yield "page Act on all matching jobs, failed", "/jobs/all?status=failed"
    yield "page Job types", "/job-types"
    yield "page Queues", "/queues"
    yield "page Workers", "/workers"
    yield "fragment pulse", "/pulse"


def read(times: int = 40) -> Iterator[tuple[str, float, float]]:
    """(what, p50, p95) in ms, one request at a time; a second apart where pages share their counts."""
    with programs.web(WEB_CONCURRENCY="1", AUTH_DISABLED="1") as (_, port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        deep = _deep_cursor(connection)
        for what, path in [*addresses(), ("API list, 1,000 pages deep", deep)]:
            took = []
            for _ in range(times):
                started = time.perf_counter()
                connection.request("GET", path)
                answer = connection.getresponse()
                answer.read()
                took.append(1000 * (time.perf_counter() - started))
                assert answer.status == 200, (path, answer.status)
                time.sleep(0.03)
            yield what, measure.percentile(took, 50), measure.percentile(took, 95)


def _deep_cursor(connection: http.client.HTTPConnection) -> str:
    """The address of a page half a million jobs down, by links alone."""
    path = "/api/jobs?limit=500"
    for _ in range(1000):
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        link = answer.headers.get("Link", "")
        if 'rel="next"' not in link:
            break
        path = link.split("<")[1].split(">")[0]
        path = path[path.index("/api/") :]
    return path


def main(rows: int) -> list[str]:
    """Lines of a table; prints as it goes."""
    started = time.monotonic()
    fill(rows)
    size = programs.scalar("SELECT pg_size_pretty(pg_total_relation_size('jobs'))")
    print(
        f"{rows:,} jobs, {size} with indexes, filled in {time.monotonic() - started:.0f} s",
        flush=True,
    )
    lines = []
    for what, p50, p95 in read():
        print(f"  {what:<44} {p50:8.1f} {p95:8.1f}", flush=True)
        lines.append(f"| {what} | {p50:.1f} | {p95:.1f} |")
    return lines
