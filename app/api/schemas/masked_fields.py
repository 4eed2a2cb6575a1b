"""Fields of an answer that may hold secrets."""

from __future__ import annotations

from marshmallow import fields


class MaskedForViewers:
    """Marks a field that may hold secrets: viewers get it masked (see app.security.shown)."""


class MaskedObject(MaskedForViewers, fields.Dict):
    """A payload in an answer."""


class MaskedJson(MaskedForViewers, fields.Raw):
    """A result in an answer: any JSON."""
