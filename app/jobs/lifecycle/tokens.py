"""Rates by GCRA: what a start takes, what a start that did not happen gives back, and how Throttle closes a limit or a key.

``tat`` is when the tokens taken so far would have come one by one. With T = rate_seconds / rate_count, a start is
allowed while tat ≤ now + (burst − 1) · T, and moves tat to max(tat, now) + T: so any window of t seconds has at most
burst + t / T starts. Tokens are taken by the claim, in its transaction and by its now(), which is the job's started_at.
"""

from __future__ import annotations

from app.jobs.lifecycle.functions import Effect

_TYPES = {"rate_seconds": "float8", "key_rate_seconds": "float8"}


def number(column: str, limit: str = "l") -> str:
    """The number of the row ``limit`` that counts, as SQL: an operator's, else that of the definition."""
    of_operator = f"({limit}.override ->> '{column}')::{_TYPES.get(column, 'int')}"
    return f"CASE WHEN {limit}.override ? '{column}' THEN {of_operator} ELSE {limit}.{column} END"


def _seconds(prefix: str) -> str:
    return f"({number(f'{prefix}rate_seconds')}) / ({number(f'{prefix}rate_count')})"


def _lock(column: str) -> str:
    """The limits among ``names`` whose rate in ``column`` is set, locked in one order."""
    return (
        f"SELECT l.name, make_interval(secs => {_seconds('')}) AS t FROM limits l"
        f" WHERE l.name = ANY(:names) AND {column} ORDER BY l.name FOR NO KEY UPDATE"
    )


# One entry per claimed job; NULL for those under no limit.
TAKE_TOKENS = Effect(
    "take_tokens_1",
    "names text[], keys text[]",
    f"""
WITH rated AS MATERIALIZED ({_lock(f"({number('rate_count')}) IS NOT NULL")})
UPDATE limits l SET tat = greatest(l.tat, now()) + r.t * (SELECT count(*) FROM unnest(:names) AS n WHERE n = l.name)
FROM rated r WHERE l.name = r.name;
INSERT INTO limit_keys (limit_name, key, tat)
SELECT l.name, n.key, now() + make_interval(secs => {_seconds("key_")}) * n.n
FROM (SELECT name, key, count(*) AS n FROM unnest(:names, :keys) AS j(name, key)
      WHERE name IS NOT NULL GROUP BY 1, 2) AS n
JOIN limits l ON l.name = n.name AND ({number("key_rate_count")}) IS NOT NULL
ORDER BY l.name, n.key
ON CONFLICT (limit_name, key) DO UPDATE
SET tat = greatest(limit_keys.tat, now()) + (excluded.tat - now());
""",
)

# A token that is older than its own interval may have been replaced meanwhile: giving it back would be one too many.
END_LIMITED = Effect(
    "end_limited_1",
    "names text[], keys text[], unstarted timestamptz[], throttles text[], delays float8[]",
    f"""
WITH rated AS MATERIALIZED ({_lock("true")}),
ended AS (
    SELECT e.name, max(r.t) AS t, count(*) FILTER (WHERE e.unstarted + r.t > now()) AS n,
           max(e.delay) FILTER (WHERE e.throttle = 'limit') AS delay
    FROM unnest(:names, :unstarted, :throttles, :delays) AS e(name, unstarted, throttle, delay)
    JOIN rated r ON r.name = e.name GROUP BY 1)
UPDATE limits l SET tat = l.tat - COALESCE(e.t * e.n, interval '0'),
    blocked_until = greatest(l.blocked_until, now() + make_interval(secs => e.delay))
FROM ended e WHERE l.name = e.name AND (e.n > 0 OR e.delay IS NOT NULL);
WITH given AS (
    SELECT e.name, e.key, count(*) AS n, make_interval(secs => {_seconds("key_")}) AS t
    FROM unnest(:names, :keys, :unstarted) AS e(name, key, unstarted) JOIN limits l ON l.name = e.name
    WHERE e.unstarted + make_interval(secs => {_seconds("key_")}) > now() GROUP BY 1, 2, 4),
taken AS MATERIALIZED (
    SELECT k.limit_name, k.key, g.n * g.t AS back
    FROM limit_keys k JOIN given g ON g.name = k.limit_name AND g.key = k.key
    ORDER BY k.limit_name, k.key FOR NO KEY UPDATE OF k)
UPDATE limit_keys k SET tat = k.tat - t.back FROM taken t WHERE k.limit_name = t.limit_name AND k.key = t.key;
INSERT INTO limit_keys (limit_name, key, blocked_until)
SELECT e.name, e.key, now() + make_interval(secs => max(e.delay))
FROM unnest(:names, :keys, :throttles, :delays) AS e(name, key, throttle, delay) JOIN limits l ON l.name = e.name
WHERE e.throttle = 'key' GROUP BY 1, 2 ORDER BY 1, 2
ON CONFLICT (limit_name, key) DO UPDATE
SET blocked_until = greatest(limit_keys.blocked_until, excluded.blocked_until);
""",
)
