"""Fields of an answer that may hold secrets."""

from __future__ import annotations

from marshmallow import fields


class SeenByRole:
    """Marks a field that may hold secrets: viewers get it masked (see app.security.shown)."""


class SeenObject(SeenByRole, fields.Dict):
    """A payload in an answer."""


class SeenJson(SeenByRole, fields.Raw):
    """A result in an answer: any JSON."""
