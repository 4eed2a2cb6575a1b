"""A limit beside the load: the jobs of one queue are under it, and a look every 10 ms counts its slots in use."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress

import psycopg2

from benchmarks.chaos.system import System

QUEUE = "reports"
CONCURRENCY, KEY_CONCURRENCY = 4, 2

_ATTACH = f"""
INSERT INTO limits (name, source, by_field, concurrency, key_concurrency)
VALUES ('chaos', 'api', 'times', {CONCURRENCY}, {KEY_CONCURRENCY});
INSERT INTO limit_attachments (kind, name, limit_name) VALUES ('queue', '{QUEUE}', 'chaos')
"""
_USED = """
SELECT COALESCE(sum(n), 0)::int, COALESCE(max(n), 0)::int FROM (
    SELECT count(*) AS n FROM jobs WHERE limit_name = 'chaos' AND hold = 0 AND status IN ('pending', 'processing')
    GROUP BY limit_key) AS k
"""


class Sampler:
    """Looks until ``stop``, and remembers the most it saw."""

    def __init__(self, system: System) -> None:
        system.sql(_ATTACH)
        self._url = system.database_url
        self._stop = threading.Event()
        self.most = self.most_of_a_key = self.looks = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(10)

    def problems(self) -> Iterator[str]:
        """What the limit does not allow."""
        if self.most > CONCURRENCY:
            yield f"{self.most} slots of {CONCURRENCY} were in use"
        if self.most_of_a_key > KEY_CONCURRENCY:
            yield f"{self.most_of_a_key} slots of {KEY_CONCURRENCY} were in use by one key"
        if not self.most:
            yield f"no slot was ever in use in {self.looks} looks"

    def _run(self) -> None:
        while not self._stop.is_set():
            # The database is away at times.
            with suppress(psycopg2.Error), closing(psycopg2.connect(self._url)) as connection:
                connection.autocommit = True
                cursor = connection.cursor()
                while not self._stop.wait(0.01):
                    cursor.execute(_USED)
                    [(used, of_a_key)] = cursor.fetchall()
                    self.most = max(self.most, used)
                    self.most_of_a_key = max(self.most_of_a_key, of_a_key)
                    self.looks += 1
            time.sleep(0.1)
