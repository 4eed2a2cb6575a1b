"""What a request says, taken strictly: body and query string against their schemas."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

from flask import Request, request
from marshmallow import Schema
from marshmallow import ValidationError as SchemaError
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge

from app import json_values
from app.api.http.errors import NotJson
from app.errors import BodyTooLarge, ValidationFailed
from app.extensions import current_request, current_settings
from app.json_values import by_path

JSON = "application/json"
DISCARDED_BYTES = 64 * 1024 * 1024


def load(schema: Schema, data: Any, *, at: str | None = None) -> Any:
    """``data`` as ``schema`` loads it. Raises ValidationFailed, its paths beginning with ``at``."""
    try:
        return schema.load(data)
    except SchemaError as error:
        raise ValidationFailed(by_path(error.messages, at)) from None


def query(schema: Schema) -> Any:
    """The query string; every parameter at most once, none that ``schema`` does not know."""
    if not request.query_string and not schema.fields:
        return {}
    found: dict[str, str] = {}
    errors: dict[str, list[str]] = {}
    for name, value in _pairs():
        if name in found:
            errors[name] = ["must be given only once."]
        found[name] = value
    if errors:
        raise ValidationFailed(errors)
    return load(schema, found)


def _pairs() -> list[tuple[str, str]]:
    text = request.query_string.decode("latin-1")
    try:
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=100)
    except ValueError:
        raise ValidationFailed(
            {"query": ["must be at most 100 parameters in percent-encoded UTF-8."]}
        ) from None


def json_body(*, is_bulk: bool = False, is_optional: bool = False) -> Any:
    """The body as Python values; {} where an optional one is missing.

    Raises BodyTooLarge, NotJson, MalformedJson, ValidationFailed.
    """
    settings, request = current_settings(), current_request()
    raw = _read(request, settings.max_bulk_bytes if is_bulk else settings.max_body_bytes)
    if is_optional and not raw:
        return {}
    environ = request.environ
    is_json = environ.get("CONTENT_TYPE") == JSON or request.mimetype == JSON
    if not is_json or "HTTP_CONTENT_ENCODING" in environ:
        raise NotJson(found=environ.get("HTTP_CONTENT_ENCODING") or request.mimetype or "nothing")
    return json_values.parse(raw)


def _read(request: Request, limit: int) -> bytes:
    length = request.content_length
    if length is not None:
        if length > limit:
            _discard(request, length)
            raise BodyTooLarge(limit=limit)
        # Werkzeug's stream of a body takes 5% of a small request.
        raw = request.environ["wsgi.input"].read(length)
        if len(raw) < length:
            raise ClientDisconnected
        return raw
    # A chunked body tells no length: read up to one byte more than it may have.
    request.max_content_length = limit + 1
    try:
        body = request.get_data(cache=False)
    except RequestEntityTooLarge:
        body = None
    if body is None or len(body) > limit:
        _discard(request, DISCARDED_BYTES)
        raise BodyTooLarge(limit=limit)
    return body


def _discard(request: Request, left: int) -> None:
    """Read the rest of a body that is too large, within reason.

    A client that is still sending when the connection closes never gets to read why.
    """
    left = min(left, DISCARDED_BYTES)
    while left > 0:
        chunk = request.environ["wsgi.input"].read(min(left, 64 * 1024))
        if not chunk:
            return
        left -= len(chunk)
