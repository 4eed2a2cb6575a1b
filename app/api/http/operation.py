"""One decorator registers a route, validates its input, renders its output, and documents both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

from flask import Response
from marshmallow import Schema

from app.api.blueprint import blueprint
from app.api.http import request
from app.api.http.response import dumper, render
from app.api.schemas.common import NO_QUERY, NOTHING
from app.security.roles import requires

View = Callable[..., Any]


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One route, as it is served and as the OpenAPI document describes it."""

    method: str
    path: str  # as Flask spells it: /api/jobs/<uuid:job_id>
    tag: str
    role: str  # one of config.ROLES, or roles.PUBLIC
    view: View  # its docstring: summary, blank line, description
    query: Schema | None = NO_QUERY  # None: not checked
    body: Schema | None = None
    is_body_optional: bool = False
    is_bulk: bool = False
    responses: Mapping[int, Schema | None]
    is_list: bool = False
    errors: tuple[int, ...] = ()
    request_headers: Mapping[str, str] = field(default_factory=dict)  # name → description
    request_header_schemas: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    response_headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.view.__name__


OPERATIONS: list[Operation] = []


def operation(
    method: str, path: str, *, read: Callable[[Any], Any] | None = None, **facts: Any
) -> Callable[[View], View]:
    """Registers a view that gets the path's arguments, ``query`` and ``body`` (those it declares).

    It returns an object, or (object, status, headers), to be rendered by the schema of that status.
    ``read`` takes the place of ``body.load`` where that is too slow; it must agree with it.
    """

    def register(view: View) -> View:
        spec = Operation(method=method, path=path, view=view, **facts)
        OPERATIONS.append(spec)
        answer = requires(spec.role)(_checked(spec, read))
        blueprint.add_url_rule(path, spec.name, answer, methods=[method])
        return view

    return register


def _checked(spec: Operation, read: Callable[[Any], Any] | None) -> Callable[..., Response]:
    dumpers = {status: dumper(schema) for status, schema in spec.responses.items() if schema}
    first_status = next(iter(spec.responses))
    body_schema = NOTHING if spec.body is None else spec.body

    def load_body() -> Any:
        is_optional = spec.body is None or spec.is_body_optional
        data = request.json_body(is_bulk=spec.is_bulk, is_optional=is_optional)
        return read(data) if read else request.load(body_schema, data)

    @wraps(spec.view)
    def run(**arguments: Any) -> Response:
        query = request.query(spec.query) if spec.query else None
        if query is not None and spec.query is not NO_QUERY:
            arguments["query"] = query
        if spec.method != "GET":
            body = load_body()
            if spec.body is not None:
                arguments["body"] = body
        answer = spec.view(**arguments)
        found, status, headers = answer if type(answer) is tuple else (answer, first_status, None)
        dump = dumpers.get(status)
        if dump is None:
            empty = Response(status=status, headers=headers)
            del empty.headers["Content-Type"]  # there is no content
            return empty
        return render(
            [dump(one) for one in found] if spec.is_list else dump(found), status, headers
        )

    return run
