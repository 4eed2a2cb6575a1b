"""/api/openapi.json and /api/docs: valid, complete, true, and readable offline under the CSP."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest
from openapi_spec_validator import validate

from app import __version__
from app.api.http import errors, reference
from app.api.http.openapi import document
from app.api.http.operation import OPERATIONS
from app.errors import JobQueueError
from tests import factories
from tests.api.conftest import Api


def test_the_document_is_valid_openapi_3_1(api: Api):
    response = api.client.get("/api/openapi.json")
    assert (response.status_code, response.content_type) == (200, "application/json")
    assert response.json["openapi"] == "3.1.0"
    validate(response.json)
    assert response.json == json.loads(json.dumps(document()))


def test_every_route_is_in_the_document(app):
    documented = {
        (method.upper(), path)
        for path, operations in document()["paths"].items()
        for method in operations
    }
    routes = {
        (method, re.sub(r"<(?:\w+:)?(\w+)>", lambda match: "{" + camel(match[1]) + "}", rule.rule))
        for rule in app.url_map.iter_rules()
        if rule.endpoint.startswith("api.")
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert routes - documented == {("GET", "/api/openapi.json"), ("GET", "/api/docs")}
    assert documented - routes == set()


def camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(map(str.title, rest))


def test_bounds_come_from_the_checks():
    new_job = document()["components"]["schemas"]["JobRequest"]["properties"]
    assert (new_job["priority"]["minimum"], new_job["priority"]["maximum"]) == (-100, 100)
    assert (new_job["uniqueKey"]["minLength"], new_job["uniqueKey"]["maxLength"]) == (1, 200)
    assert new_job["timeoutSeconds"]["exclusiveMinimum"] == 0
    assert new_job["tags"]["uniqueItems"] is True
    assert document()["components"]["schemas"]["Bulk"]["properties"]["jobs"]["maxItems"] == 10_000
    assert document()["components"]["schemas"]["JobRequest"]["additionalProperties"] is False


def test_every_operation_has_a_summary_and_a_unique_name():
    names = [operation.name for operation in OPERATIONS]
    assert len(set(names)) == len(names)
    for operation in OPERATIONS:
        assert (operation.view.__doc__ or "").strip()


@pytest.mark.parametrize("path", ["/api/jobs", "/api/jobs/bulk"])
def test_the_examples_on_the_page_work(api: Api, path):
    spec = document()
    schema = spec["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    body = reference.example(spec, schema)
    assert body
    assert api.post(path, body).status_code == 201


def test_the_example_of_a_patch_works(api: Api, have):
    spec = document()
    schema = spec["components"]["schemas"]["Edit"]
    body = reference.example(spec, schema)
    assert api.patch(f"/api/jobs/{have(factories.pending_job)}", body).status_code == 200


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


def test_the_page_shows_every_operation_and_loads_nothing_external(client):
    response = client.get("/api/docs")
    assert (response.status_code, response.mimetype) == (200, "text/html")
    assert "style-src 'self'" in response.headers["Content-Security-Policy"]
    page = Page(response.text)
    anchors = {attrs.get("id") for _, attrs in page.tags}
    for operation in OPERATIONS:
        assert camel(operation.name) in anchors
    for tag, attrs in page.tags:
        assert tag not in ("script", "style")
        assert "style" not in attrs
        assert not [name for name in attrs if name.startswith("on")]
        for address in (attrs.get("src"), attrs.get("href")):
            assert address is None or address.startswith(("/", "#"))
            assert address is None or not address.startswith("#") or address[1:] in anchors
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))


def test_the_pages_stylesheets_exist(client):
    page = Page(client.get("/api/docs").text)
    sheets = [attrs["href"] for tag, attrs in page.tags if tag == "link"]
    assert len(sheets) >= 3
    for sheet in sheets:
        assert client.get(sheet).status_code == 200


def test_the_schema_of_a_result_is_any_json_without_a_union():
    result = document()["components"]["schemas"]["Job"]["properties"]["result"]
    assert set(result) == {"description"}


def test_no_schema_name_clashes_with_a_constructor():
    """Go's generator makes a function NewX for every schema X."""
    names = set(document()["components"]["schemas"])
    assert not {f"New{name}" for name in names} & names


def test_request_schemas_are_closed_and_response_schemas_are_open():
    schemas = document()["components"]["schemas"]
    closed = {name for name, one in schemas.items() if one.get("additionalProperties") is False}
    of_limits = {
        "LimitRequest", "LimitChange", "LimitKeyRequest", "LimitOf", "RateRequest", "PerKeyRequest"
    }  # fmt: skip
    of_schedules = {
        "ScheduleRequest", "ScheduleDefinition", "ScheduleEdit", "ScheduleRun",
        "SchedulePreviewRequest",
    }  # fmt: skip
    of_bulk_actions = {"BulkFilter", "BulkPreviewRequest", "BulkChanges", "BulkActionRequest"}
    assert closed == {"JobRequest", "Bulk", "Edit"} | of_limits | of_schedules | of_bulk_actions


def test_every_code_of_an_error_is_listed():
    codes = document()["components"]["schemas"]["Error"]["properties"]["code"]["enum"]
    kinds, found = [JobQueueError], set()
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        if kind.__module__.startswith("app."):
            found.add(kind.code)
    assert found | {code for code, _ in errors.HTTP_CODES.values()} | {"http_error"} == set(codes)


def test_every_operation_has_a_description_and_the_version_is_the_products():
    assert document()["info"]["version"] == __version__
    for operations in document()["paths"].values():
        for operation in operations.values():
            assert operation["description"]


def test_the_command_prints_the_document(app):
    runner = app.test_cli_runner()
    assert json.loads(runner.invoke(args=["openapi"]).output) == document()
    address = "https://jobs.example.com"
    printed = json.loads(runner.invoke(args=["openapi", "--server", address]).output)
    assert printed == {**document(), "servers": [{"url": address}]}
