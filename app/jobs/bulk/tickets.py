"""The ticket of a preview: what the confirmation sends back, so that it applies to exactly the previewed jobs.

It is no secret and grants nothing: the confirmation checks the role as every request does.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Self
from uuid import UUID

from app import clock
from app.errors import ValidationFailed
from app.jobs.bulk.errors import PreviewInvalid
from app.jobs.bulk.scope import Scope
from app.jobs.committed import Moment
from app.jobs.listing.filters import JobFilter
from app.jobs.verbs import VERBS

#: Older previews have to be made again.
VALID_HOURS = 24
_KEY_BYTES = 12


@dataclass(frozen=True)
class Ticket:
    """A preview of ``verb`` for the jobs of ``filter``: its moment, and how many jobs it counted."""

    verb: str
    scope: Scope
    expected: int | None  # None: counting took too long
    filter_digest: str
    #: Confirming the same preview twice starts one action.
    key: str = field(default_factory=lambda: secrets.token_urlsafe(_KEY_BYTES))

    @classmethod
    def of(cls, verb: str, filter: JobFilter, scope: Scope, expected: int | None) -> Self:
        return cls(verb, scope, expected, digest(filter))

    def __str__(self) -> str:
        """The text that parse() reads."""
        facts = [
            self.verb, self.scope.as_of.isoformat(), self.scope.upto.hex, str(self.scope.moment or ""), self.expected,
            self.filter_digest, self.key,
        ]  # fmt: skip
        return base64.urlsafe_b64encode(json.dumps(facts).encode()).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises PreviewInvalid."""
        try:
            padded = text.encode("ascii") + b"=" * (-len(text) % 4)
            facts = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
            verb, as_of, upto, moment, expected, filter_digest, key = facts
            if not all(type(value) is str for value in (verb, filter_digest, key)):
                raise ValueError
            if expected is not None and (type(expected) is not int or expected < 0):
                raise ValueError
            at = datetime.fromisoformat(as_of)
            if at.tzinfo is None or len(key) > 4 * _KEY_BYTES or "\0" in key:
                raise ValueError
            scope = Scope(at, UUID(upto), Moment.parse(moment))
        except (ValueError, TypeError, RecursionError):
            raise PreviewInvalid(reason="it is missing or incomplete") from None
        now = clock.now()
        if not now - timedelta(hours=VALID_HOURS) < at < now + timedelta(hours=VALID_HOURS):
            raise PreviewInvalid(reason=f"it is older than {VALID_HOURS} hours")
        return cls(verb, scope, expected, filter_digest, key)

    def check(self, verb: str, filter: JobFilter) -> None:
        """Raise PreviewInvalid unless the ticket is of this verb and filter, ValidationFailed without a needed count."""
        if (self.verb, self.filter_digest) != (verb, digest(filter)):
            raise PreviewInvalid(reason="it is of another verb or filter")
        if self.expected is None and not VERBS[verb].is_undoable:
            message = (
                f"{verb} needs an exact count; narrow the filter by status, type, queue or time."
            )
            raise ValidationFailed({"verb": [message]})


def digest(filter: JobFilter) -> str:
    """A short text that differs for filters of different jobs."""
    facts = json.dumps(asdict(filter.normalized()), default=str, sort_keys=True)
    return hashlib.sha256(facts.encode("utf-8", "surrogatepass")).hexdigest()[:16]
