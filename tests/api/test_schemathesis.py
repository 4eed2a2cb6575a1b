"""Whatever schemathesis makes of our OpenAPI document: no server error, and every answer as documented."""

from __future__ import annotations

import os
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings

from app import config, create_app
from app.api.http.openapi import document
from tests import factories as make
from tests.security.conftest import PRODUCTION, TOKENS

EXAMPLES = 25
#: What JSON Schema has no words for: cursors we gave out, instants of this century, text that PostgreSQL
#: can store, parameters that exclude each other. Only these may refuse what fits the document.
UNSAYABLE = {
    "cursor", "createdFrom", "createdTo", "finishedFrom", "finishedTo", "nextRunFrom", "nextRunTo",
    "nextRunAt", "expiresAt", "payload", "from", "startsAt", "endsAt", "cron", "timeZone", "jitterSeconds",
    "missed", "uniqueKey", "tickField", "name", "key", "by", "concurrency", "count", "burst",
    "preview", "changes", "limitKey", "waiting",
}  # fmt: skip
UNSAYABLE_WORDS = ("NUL characters", "surrogate", "together with")
AUTH = schemathesis.checks.ignored_auth
ACCEPTED = schemathesis.checks.positive_data_acceptance
OPERATIONS = [(path, method) for path, methods in document()["paths"].items() for method in methods]


@pytest.mark.parametrize(("path", "method"), OPERATIONS, ids=lambda part: part)
def test_every_response_is_as_documented(
    test_env: dict[str, str], session: Any, redis: Any, path: str, method: str
) -> None:
    for factory in make.BY_VIEW.values():
        factory()
    make.worker()
    app = create_app(config.load({**test_env, **PRODUCTION}))
    # The client of the tests does not decompress.
    admin = {"Authorization": f"Bearer {TOKENS['admin']}", "Accept-Encoding": "identity"}
    schema = schemathesis.openapi.from_wsgi("/api/openapi.json", app, headers=admin)
    asked = 0

    @given(case=schema[path][method].as_strategy())
    @settings(
        max_examples=int(os.environ.get("SCHEMATHESIS_EXAMPLES", EXAMPLES)), deadline=None, derandomize=True, database=None,
        phases=(Phase.explicit, Phase.generate), suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    def ask(case: Any) -> None:
        nonlocal asked
        asked += 1
        name_known_values(case.body)
        answer = case.call(headers=admin)
        unsaid = answer.status_code == 422 and is_unsayable(answer.json())
        # A hundred wrong tokens a minute, then none is listened to: the answer would be 429.
        left_out = [AUTH] if asked > EXAMPLES else []
        case.validate_response(
            answer, headers=admin, excluded_checks=[*left_out, *([ACCEPTED] if unsaid else [])]
        )

    ask()
    assert asked


def is_unsayable(error: Any) -> bool:
    """``jobs.3.payload.to.0`` is about a payload."""
    if error["code"] == "idempotency_mismatch":
        return True
    return all(
        UNSAYABLE & set(name.split(".")) or any(word in messages[0] for word in UNSAYABLE_WORDS)
        for name, messages in error["errors"].items()
    )


def name_known_values(body: Any) -> None:
    """Which types and zones there are is not the document's to say: what it leaves open shall not be the reason to refuse."""
    for job in [body, *(body.get("jobs") or [])] if isinstance(body, dict) else []:
        if isinstance(job, dict) and isinstance(job.get("type"), str):
            job["type"] = "echo"
    if isinstance(body, dict):
        for field, known in (("cron", "30 2 * * *"), ("timeZone", "Europe/Berlin")):
            if isinstance(body.get(field), str):
                body[field] = known
