"""The OpenAPI 3.1 document: made from the routes and shapes that do the work, so it can't lag behind."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from functools import cache
from http import HTTPStatus
from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin, OpenAPIConverter
from marshmallow import Schema, fields
from marshmallow.validate import Range

from app import __version__
from app.api.http.errors import all_codes
from app.api.http.operation import OPERATIONS, Operation
from app.api.schemas.common import ERROR
from app.api.schemas.fields import JsonText, RequestShape, Shape
from app.security.roles import PUBLIC

TAGS = {
    "Jobs": "A job is one request to run a job type with a payload.",
    "Dead letters": "The record of a failed job until someone retries or discards it.",
    "Queues": "Jobs wait in named queues; a paused queue starts no jobs.",
    "Workers": "The processes that run jobs.",
    "Job types": "The kinds of jobs that can be enqueued.",
    "Health": "For load balancers and people.",
}
DESCRIPTION = """\
JSON over HTTP. Times are RFC 3339 in UTC with milliseconds (`2026-05-04T10:00:00.000Z`); times in requests must \
include a time zone. Unknown fields and query parameters are refused by name, and nothing is stored when anything is refused. Every \
error has the same shape: `message` for people, `code` for programs, `errors` by field. Ids that are not UUIDs \
answer 404. Outside development every call but /health needs `Authorization: Bearer` with a token: viewers read \
(secrets in payloads are masked), operators change, admins delete. `Link` and `Location` hold addresses relative to the server. \
A change that a job's status does not allow is a 409 with the code `invalid_transition`; only `POST …/retry` of a job answers \
400 with that code. Answers may gain fields: clients should ignore those they don't know. The document can be printed with \
`flask --app wsgi openapi`.
"""
ERRORS = {
    400: "The body is not JSON; for a retry: the job's status does not allow it.",
    401: "No valid token was sent.",
    403: "The token's role does not allow this.",
    404: "Not found.",
    408: "The body did not arrive in time; nothing was stored.",
    409: "The job's status does not allow this.",
    413: "The body is larger than the limit.",
    415: "The body is not sent as application/json.",
    422: "A field or parameter is not valid; see `errors`.",
    429: "Too many requests; try again after `Retry-After` seconds.",
    503: "The database does not answer; try again after `Retry-After` seconds.",
}
_ARGUMENT = re.compile(r"<(?:(\w+):)?(\w+)>")


@cache
def document() -> dict[str, Any]:
    """The whole document, built once."""
    converter, spec = _spec(lambda schema: type(schema).__name__.removesuffix("Shape"))
    spec.components.schema("Error", schema=ERROR)
    spec.components.security_scheme("token", {"type": "http", "scheme": "bearer"})
    for operation in OPERATIONS:
        path = _ARGUMENT.sub(lambda match: "{" + camel(match[2]) + "}", operation.path)
        spec.path(
            path=path, operations={operation.method.lower(): _operation(operation, converter)}
        )
    found: dict[str, Any] = spec.to_dict()
    _describe(found["components"]["schemas"])
    # Here, when every module with errors of its own has been imported.
    found["components"]["schemas"]["Error"]["properties"]["code"]["enum"] = all_codes()
    return found


def _describe(schemas: dict[str, Any]) -> None:
    for shape in _subclasses(Shape):
        name = shape.__name__.removesuffix("Shape")
        if name in schemas:
            schemas[name]["description"] = inspect.getdoc(shape)
            schemas[name] |= shape.more
            if not issubclass(shape, RequestShape):
                # A response may gain fields without breaking strict clients.
                schemas[name].pop("additionalProperties", None)


def _subclasses(kind: type[Shape]) -> list[type[Shape]]:
    direct = kind.__subclasses__()
    return [*direct, *(inner for one in direct for inner in _subclasses(one))]


def json_schema(schema: Schema) -> dict[str, Any]:
    """The JSON Schema of one marshmallow schema, whole in itself."""
    converter, _ = _spec(lambda schema: None)
    found: dict[str, Any] = converter.schema2jsonschema(schema)
    return found


def _spec(name_of: Callable[[Any], Any]) -> tuple[OpenAPIConverter, APISpec]:
    plugin = MarshmallowPlugin(schema_name_resolver=name_of)
    spec = APISpec(
        title="Job queue",
        version=__version__,
        openapi_version="3.1.0",
        info={"description": DESCRIPTION, "license": {"name": "MIT", "identifier": "MIT"}},
        servers=[{"url": "/"}],
        tags=[{"name": name, "description": text} for name, text in TAGS.items()],
        plugins=[plugin],
    )
    converter = plugin.converter
    assert converter is not None  # made by APISpec
    converter.add_attribute_function(_exact)
    return converter, spec


def _exact(_: OpenAPIConverter, field: fields.Field[Any], ret: dict[str, Any]) -> dict[str, Any]:
    """What apispec does not read off our fields: example → examples, dates, any-JSON, Python's \\Z."""
    found: dict[str, Any] = {}
    if "example" in ret:
        found["examples"] = [ret.pop("example")]
    if "pattern" in ret:
        found["pattern"] = ret["pattern"].replace(r"\Z", "$")
    if isinstance(field, JsonText):
        found["type"] = "string"
    for check in field.validators:
        if isinstance(check, Range) and not check.min_inclusive:
            found["exclusiveMinimum"] = ret.pop("minimum")
    if isinstance(field, fields.Raw):
        # Any JSON is a schema without a type: a list of types is what generators make unions of,
        # and lose.
        ret.pop("type", None)
    return found


def _operation(operation: Operation, converter: OpenAPIConverter) -> dict[str, Any]:
    summary, _, more = (inspect.getdoc(operation.view) or "").partition("\n")
    query = (
        converter.schema2parameters(operation.query, location="query") if operation.query else []
    )
    found: dict[str, Any] = {
        "operationId": camel(operation.name),
        "summary": summary.rstrip("."),
        "tags": [operation.tag],
        "parameters": [*_arguments(operation.path), *_headers(operation), *query],
        "responses": _answers(operation) | _errors(operation),
        "security": [] if operation.role == PUBLIC else [{"token": []}],
    }
    if more.strip():
        found["description"] = " ".join(more.split("\n")).strip()
    if operation.body is not None:
        found["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": operation.body}},
        }
    return found


def _arguments(path: str) -> list[dict[str, Any]]:
    text, uuid = {"type": "string"}, {"type": "string", "format": "uuid"}
    return [
        {
            "name": camel(name),
            "in": "path",
            "required": True,
            "schema": uuid if kind == "uuid" else text,
        }
        for kind, name in _ARGUMENT.findall(path)
    ]


def _headers(operation: Operation) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "header",
            "description": text,
            "schema": {"type": "string"} | operation.request_header_schemas.get(name, {}),
        }
        for name, text in operation.request_headers.items()
    ]


def _answers(operation: Operation) -> dict[str, Any]:
    headers = {
        name: {"description": text, "schema": {"type": "string"}}
        for name, text in operation.response_headers.items()
    }
    found = {}
    for status, shape in operation.answers.items():
        found[str(status)] = one = {"description": HTTPStatus(status).phrase} | (
            {"headers": headers} if headers else {}
        )
        if shape is not None:
            schema: Any = {"type": "array", "items": shape} if operation.is_list else shape
            one["content"] = {"application/json": {"schema": schema}}
    return found


def _errors(operation: Operation) -> dict[str, Any]:
    possible = {*operation.errors, 422, 503} if operation.query else set(operation.errors)
    if operation.role != PUBLIC:
        possible |= {401, 403, 429}
    if operation.method != "GET":
        possible |= {400, 408, 413, 415}
    error = {"application/json": {"schema": "Error"}}
    return {
        str(status): {"description": ERRORS[status], "content": error}
        for status in sorted(possible - set(operation.answers))
    }


def camel(name: str) -> str:
    """job_id → jobId"""
    head, *rest = name.split("_")
    return head + "".join(word.title() for word in rest)
