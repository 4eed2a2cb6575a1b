"""Python values → JSON responses, by plans made once from the marshmallow schemas."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from flask import Response
from marshmallow import Schema, fields

from app.api.schemas.masked_fields import MaskedForViewers
from app.json_values import iso
from app.security import shown

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str).encode


class JsonResponse(Response):
    """Bytes and complete headers. Werkzeug would look again for what every response may need."""

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response(self.status, self.headers.to_wsgi_list())
        return () if environ["REQUEST_METHOD"] == "HEAD" else self.response  # type: ignore[return-value]


def render(data: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON response. An echoed lone surrogate becomes its own escape, so that it stays JSON."""
    if type(data) is list:
        # One by one: while the encoder works on megabytes, no other thread of this process runs.
        body = b"[" + b",".join(map(_encoded, data)) + b"]"
    else:
        body = _encoded(data)
    return JsonResponse(body + b"\n", status, headers, content_type="application/json")


def _encoded(data: Any) -> bytes:
    return _encode(data).encode("utf-8", "backslashreplace")


def dumper(schema: Schema) -> Callable[[Any], dict[str, Any]]:
    """A function object → dict that does what ``schema.dump`` would, about ten times faster.

    A list returns hundreds of jobs, each with two dozen fields; Schema.dump would take longer
    than the query. tests/api/test_rendering.py compares the two.
    """
    plan = [
        (field.data_key or name, field.attribute or name, _conversion(field))
        for name, field in schema.dump_fields.items()
    ]

    def dump(obj: Any) -> dict[str, Any]:
        get = obj.__getitem__ if type(obj) is dict else obj.__getattribute__
        return {
            key: get(name) if convert is None else convert(get(name)) for key, name, convert in plan
        }

    return dump


def _conversion(field: fields.Field[Any]) -> Callable[[Any], Any] | None:
    if isinstance(field, MaskedForViewers):
        return shown
    if isinstance(field, fields.DateTime):
        return iso
    if isinstance(field, fields.UUID):
        return lambda value: None if value is None else str(value)
    if isinstance(field, fields.List):
        convert = _conversion(field.inner)
        return None if convert is None else lambda values: [convert(value) for value in values]
    if isinstance(field, fields.Nested):
        inner = dumper(field.schema)
        if field.many:
            return lambda values: [inner(value) for value in values]
        return lambda value: None if value is None else inner(value)
    return None
