"""The table of verbs, and that each verb has its function."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from app.config import ROLES
from app.errors import JobNotFound
from app.jobs import lifecycle
from app.jobs.statuses import STATUSES
from app.jobs.verbs import DISCARD, RETRY, VERBS
from tests import factories


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_of_the_table_can_be_done(session: Any, verb: str) -> None:
    unknown = uuid4()
    changes = lifecycle.act(session, verb, [unknown], by="ada", changes={"priority": 1})
    assert isinstance(changes.refused[unknown], JobNotFound)


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_starts_from_the_statuses_of_the_table(session: Any, verb: str, status: str) -> None:
    job_id = factories.BY_VIEW[status]().id
    changes = lifecycle.act(session, verb, [job_id], by="ada", changes={"priority": 1})
    stays = verb == "cancel" and status == "cancelled"
    assert bool(changes.done) is (status in VERBS[verb].from_statuses or stays)


def test_roles_are_those_of_the_settings() -> None:
    assert {verb.role for verb in VERBS.values()} <= set(ROLES)


def test_a_verb_says_what_it_starts_from() -> None:
    assert RETRY.allowed == "failed or cancelled"
    assert RETRY.starts_from("j.status") == "j.status IN ('failed', 'cancelled')"
    assert DISCARD.allowed == "failed with an open dead letter"
