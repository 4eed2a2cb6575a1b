"""The OpenAPI 3.1 document: generated from the routes and schemas that handle requests, so it is always current."""

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
from app.api.schemas.fields import BaseSchema, JsonText, RequestSchema
from app.security.roles import PUBLIC

TAGS = {
    "Jobs": "A job is one request to run a job type with a payload.",
    "Schedules": "A schedule creates jobs of one type at set times: by a cron line in a time zone, or at an interval.",
    "Bulk actions": "One verb for many jobs: previewed, confirmed, carried out in the background, and undone.",
    "Dead letters": "The record of a failed job until someone retries or discards it.",
    "Error groups": "Failures of the same job type, exception and location; known, muted or resolved by people, reopened by new failures.",
    "Queues": "Jobs wait in named queues; a paused queue starts no jobs.",
    "Workers": "The processes that run jobs.",
    "Job types": "Job types that can be enqueued, and their policies.",
    "Limits": "How many jobs of some types or queues run at the same time, and how many start in a time, in all and per key.",
    "Health": "For load balancers and monitoring.",
}
DESCRIPTION = """\
JSON over HTTP. Times are RFC 3339 in UTC with milliseconds (`2026-05-04T10:00:00.000Z`); times in requests must \
include a time zone. A request with an invalid or unknown field or query parameter is rejected, and nothing is stored. \
All errors have the same format: `message` for people, `code` for programs, `errors` by field. An id that is not a UUID \
returns 404. Outside development every request except /health needs `Authorization: Bearer` with a token: viewers can read \
(secrets in payloads are masked), operators can also change, admins can also delete. `Link` and `Location` are relative to the \
server. A change that a job's status does not allow returns 409 with the code `invalid_transition`; only `POST …/retry` of a job \
returns 400 with that code. Responses may gain fields; clients should ignore fields they don't know. \
`flask --app wsgi openapi` prints this document.
"""
ERRORS = {
    400: "The body is not valid JSON. For a retry: the job's status does not allow it.",
    401: "The token is missing or invalid.",
    403: "The token's role does not allow this.",
    404: "Not found.",
    408: "The body did not arrive in time; nothing was stored.",
    409: "The current state does not allow this; see `code`.",
    413: "The body is larger than the limit.",
    415: "The content type is not application/json.",
    422: "A field or parameter is invalid; see `errors`.",
    429: "Too many requests; try again after `Retry-After` seconds.",
    503: "The database is unavailable; try again after `Retry-After` seconds.",
}
_ARGUMENT = re.compile(r"<(?:(\w+):)?(\w+)>")


@cache
def document() -> dict[str, Any]:
    """The whole document, built once."""
    converter, spec = _spec(lambda schema: type(schema).__name__.removesuffix("Schema"))
    spec.components.schema("Error", schema=ERROR)
    spec.components.security_scheme("token", {"type": "http", "scheme": "bearer"})
    for operation in OPERATIONS:
        path = _ARGUMENT.sub(lambda match: "{" + camel(match[2]) + "}", operation.path)
        spec.path(
            path=path, operations={operation.method.lower(): _operation(operation, converter)}
        )
    result: dict[str, Any] = spec.to_dict()
    schemas = result["components"]["schemas"]
    _describe(schemas)
    # The last step: by now every module that defines errors has been imported.
    schemas["Error"]["properties"]["code"]["enum"] = all_codes()
    return result


def _describe(schemas: dict[str, Any]) -> None:
    for schema in _subclasses(BaseSchema):
        name = schema.__name__.removesuffix("Schema")
        if name in schemas:
            schemas[name]["description"] = inspect.getdoc(schema)
            schemas[name] |= schema.more
            if not issubclass(schema, RequestSchema):
                # A response may gain fields without breaking strict clients.
                schemas[name].pop("additionalProperties", None)


def _subclasses(kind: type[BaseSchema]) -> list[type[BaseSchema]]:
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
        "responses": _responses(operation) | _errors(operation),
        "security": [] if operation.role == PUBLIC else [{"token": []}],
    }
    if more.strip():
        found["description"] = " ".join(more.split("\n")).strip()
    if operation.body is not None:
        found["requestBody"] = {
            "required": not operation.is_body_optional,
            "content": {"application/json": {"schema": operation.body}},
        }
    return found


def _arguments(path: str) -> list[dict[str, Any]]:
    kinds = {"uuid": {"type": "string", "format": "uuid"}, "int": {"type": "integer", "minimum": 0}}
    return [
        {
            "name": camel(name),
            "in": "path",
            "required": True,
            "schema": kinds.get(kind, {"type": "string"}),
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


def _responses(operation: Operation) -> dict[str, Any]:
    headers = {
        name: {"description": text, "schema": {"type": "string"}}
        for name, text in operation.response_headers.items()
    }
    responses: dict[str, Any] = {}
    for status, schema in operation.responses.items():
        response: dict[str, Any] = {"description": HTTPStatus(status).phrase}
        if headers:
            response["headers"] = headers
        if schema is not None:
            content: Any = {"type": "array", "items": schema} if operation.is_list else schema
            response["content"] = {"application/json": {"schema": content}}
        responses[str(status)] = response
    return responses


def _errors(operation: Operation) -> dict[str, Any]:
    possible = {*operation.errors, 422, 503} if operation.query else set(operation.errors)
    if operation.role != PUBLIC:
        possible |= {401, 403, 429}
    if operation.method != "GET":
        possible |= {400, 408, 413, 415}
    error = {"application/json": {"schema": "Error"}}
    return {
        str(status): {"description": ERRORS[status], "content": error}
        for status in sorted(possible - set(operation.responses))
    }


def camel(name: str) -> str:
    """job_id → jobId"""
    head, *rest = name.split("_")
    return head + "".join(word.title() for word in rest)
