"""The OpenAPI document, and a page that shows it without scripts or other servers."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

import click
from flask import Response, render_template, request
from markupsafe import Markup

from app.api.blueprint import blueprint
from app.api.http.openapi import TAGS, document
from app.api.http.response import render
from app.security.roles import requires

SAMPLE_ID = "019a1b2c-3d4e-7f50-8a6b-7c8d9e0f1a2b"

#: Part of a path → the name in its example.
SAMPLE_NAMES = {"job-types": "echo", "limits": "stripe"}


@dataclass(frozen=True)
class Row:
    """One parameter or field, as a line of a table."""

    name: str
    kind: str
    is_required: bool
    description: str


@dataclass(frozen=True)
class Entry:
    """One operation, as the page shows it."""

    anchor: str
    method: str
    path: str
    summary: str
    description: str
    parameters: list[Row]
    body: list[Row]
    responses: list[tuple[str, str, str]]  # status, description, schema name
    curl: str


@dataclass
class Section:
    name: str
    about: str
    entries: list[Entry] = field(default_factory=list)


@blueprint.app_template_filter()
def code_words(text: str) -> Markup:
    """Text whose `words in backticks` become code."""
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if n % 2 else part
        for n, part in enumerate(text.split("`"))
    )


@blueprint.cli.command("openapi")
@click.option("--server", help="URL of the server, for generators that read it from the document.")
def print_document(server: str | None) -> None:
    """Print the OpenAPI document of the JSON API."""
    servers = {"servers": [{"url": server}]} if server else {}
    click.echo(json.dumps({**document(), **servers}, indent=2, ensure_ascii=False))


@blueprint.get("/api/openapi.json")
@requires("viewer")
def openapi_document() -> Response:
    return render(document())


@blueprint.get("/api/docs")
@requires("viewer")
def docs_page() -> str:
    spec = document()
    return render_template(
        "api/docs.html", info=spec["info"], sections=sections(spec), schemas=schemas(spec)
    )


def sections(spec: dict[str, Any]) -> list[Section]:
    """The operations by tag, in the order of TAGS."""
    found = {name: Section(name, about) for name, about in TAGS.items()}
    for path, operations in spec["paths"].items():
        for method, operation in operations.items():
            found[operation["tags"][0]].entries.append(
                _entry(spec, method.upper(), path, operation)
            )
    return list(found.values())


def schemas(spec: dict[str, Any]) -> list[tuple[str, str, list[Row]]]:
    """The schemas of requests and responses by name: (name, description, fields)."""
    return [
        (name, schema.get("description", ""), _fields(schema))
        for name, schema in sorted(spec["components"]["schemas"].items())
    ]


def _entry(spec: dict[str, Any], method: str, path: str, operation: dict[str, Any]) -> Entry:
    body = _content(operation.get("requestBody", {}))
    return Entry(
        anchor=operation["operationId"],
        method=method,
        path=path,
        summary=operation["summary"],
        description=operation.get("description", ""),
        parameters=[
            Row(
                parameter["name"],
                f"{parameter['in']} · {kind(parameter['schema'])}",
                parameter.get("required", False),
                parameter.get("description", ""),
            )
            for parameter in operation["parameters"]
        ],
        body=_fields(_resolved(spec, body)) if body else [],
        responses=[
            (status, response["description"], _schema_name(_content(response)))
            for status, response in sorted(operation["responses"].items())
        ],
        curl=_curl(spec, method, path, body),
    )


def _fields(schema: dict[str, Any]) -> list[Row]:
    required = schema.get("required", ())
    return [
        Row(name, kind(field), name in required, field.get("description", ""))
        for name, field in schema.get("properties", {}).items()
    ]


def kind(schema: dict[str, Any]) -> str:
    """A type in words: ``string · 1 to 100 characters``."""
    if "$ref" in schema:
        return schema["$ref"].rpartition("/")[2]
    words = [_type(schema)]
    if "enum" in schema:
        words.append(", ".join(map(str, schema["enum"])))
    elif "format" in schema:
        words.append(schema["format"])
    for low, high, unit in _BOUNDS:
        if "exclusiveMinimum" in schema and high in schema:
            words.append(f"more than {_n(schema['exclusiveMinimum'])}, at most {_n(schema[high])}")
        elif high in schema:
            words.append(f"{_n(schema.get(low, 0))} to {_n(schema[high])}{unit}")
    if "default" in schema:
        words.append(f"default {json.dumps(schema['default'])}")
    return " · ".join(words)


_BOUNDS = (
    ("minimum", "maximum", ""),
    ("minLength", "maxLength", " characters"),
    ("minItems", "maxItems", " items"),
)


def _n(number: float) -> str:
    return f"{int(number):,}" if number == int(number) else f"{number}"


def _type(schema: dict[str, Any]) -> str:
    if "items" in schema:
        return f"array of {kind(schema['items'])}"
    if "anyOf" in schema:
        return " or ".join(map(kind, schema["anyOf"]))
    types = schema.get("type", "any")
    if isinstance(types, str):
        return types
    return " or ".join(types) if len(types) < 4 else "any JSON"


def _content(part: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = part.get("content", {}).get("application/json", {}).get("schema", {})
    return found


def _schema_name(schema: dict[str, Any]) -> str:
    return kind(schema) if schema else ""


def _resolved(spec: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    found: dict[str, Any] = spec["components"]["schemas"][name] if name else schema
    return found


def _curl(spec: dict[str, Any], method: str, path: str, body: dict[str, Any]) -> str:
    name = next((name for part, name in SAMPLE_NAMES.items() if part in path), "default")
    address = re.sub("{name}", name, path)
    address = re.sub("{(jobId|workerId)}", SAMPLE_ID, address).replace("{key}", "customer-42")
    words = ["curl", f"{request.host_url.rstrip('/')}{address}"]
    if method != "GET":
        words.insert(1, f"-X {method}")
    if body:
        words += ["-H 'Content-Type: application/json'", f"-d '{json.dumps(example(spec, body))}'"]
    return " ".join(words)


def example(spec: dict[str, Any], schema: dict[str, Any]) -> Any:
    """A body that the API accepts, made of the fields that have an example."""
    schema = _resolved(spec, schema)
    if "examples" in schema:
        return schema["examples"][0]
    if schema.get("type") == "array":
        return [example(spec, schema["items"])]
    if schema.get("type") == "object":
        properties = {
            name: _resolved(spec, one) for name, one in schema.get("properties", {}).items()
        }
        return {
            name: example(spec, one)
            for name, one in properties.items()
            if "examples" in one or "properties" in one or one.get("items", {}).get("$ref")
        }
    return None
