"""A mixed load by HTTP, and the ids that were accepted."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import requests

from benchmarks.chaos.system import System


@dataclass
class Load:
    """Posts jobs until ``stop``, and keeps the ids of those that were accepted."""

    system: System
    chance: random.Random
    accepted: dict[str, str] = field(default_factory=dict)  # id → kind
    refused: Counter[str] = field(default_factory=Counter)
    slowest_ms: float = 0.0
    _stop: threading.Event = field(default_factory=threading.Event)

    KINDS = (
        ("quick", 680), ("slow", 50), ("flaky", 100), ("hopeless", 40), ("later", 80), ("apart", 10),
        ("deadly", 1), ("leaky", 30), ("odd", 30),
    )  # fmt: skip

    def run(self) -> None:
        http = requests.Session()
        number = 0
        while not self._stop.is_set():
            specs = [self._spec(number + n) for n in range(self.chance.choice((1, 1, 1, 1, 25)))]
            number += len(specs)
            self._post(http, specs)
            time.sleep(self.chance.expovariate(8))

    def stop(self) -> None:
        self._stop.set()

    def _spec(self, number: int) -> tuple[str, dict[str, Any]]:
        names, weights = zip(*self.KINDS, strict=True)
        [kind] = self.chance.choices(names, weights)
        spec: dict[str, Any] = {
            "type": "chaos-apart" if kind == "apart" else "chaos",
            "payload": {"kind": kind, "number": number, "times": self.chance.randint(1, 3)},
            "queue": self.chance.choice(("default", "default", "mail", "reports")),
            "priority": self.chance.choice((0, 0, 0, 10, -10)),
        }
        if kind == "later":
            spec["delay"] = self.chance.randint(1, 20)
        return kind, spec

    def _post(self, http: requests.Session, specs: list[tuple[str, dict[str, Any]]]) -> None:
        bodies = [spec for _, spec in specs]
        started = time.monotonic()
        try:
            if len(bodies) == 1:
                response = http.post(f"{self.system.url}/api/jobs", json=bodies[0], timeout=20)
            else:
                response = http.post(f"{self.system.url}/api/jobs/bulk", json={"jobs": bodies}, timeout=20)  # fmt: skip
        except requests.RequestException as error:
            # It may or may not be stored; neither is a loss.
            self.refused[type(error).__name__] += 1
            time.sleep(0.1)
            return
        if response.status_code == 201:
            self.slowest_ms = max(self.slowest_ms, 1000 * (time.monotonic() - started))
            body = response.json()
            ids = [body["id"]] if len(bodies) == 1 else body["ids"]
            for job_id, (kind, _) in zip(ids, specs, strict=True):
                self.accepted[job_id] = kind
        else:
            self.refused[f"{response.status_code} {response.json().get('code')}"] += 1
            time.sleep(0.1)
