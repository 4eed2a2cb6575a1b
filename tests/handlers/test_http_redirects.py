"""Redirects of http-request: which method, headers and body the next request has."""

from collections.abc import Iterator
from typing import Any

import pytest

from app.jobs.control_flow import Permanent
from app.jobs.testing import make_context, run_handler
from tests.support.http_server import Answer, Request, ScriptedServer


@pytest.fixture
def other_server() -> Iterator[ScriptedServer]:
    """Another origin."""
    server = ScriptedServer()
    yield server
    server.close()


def redirect(status: int, location: str) -> Answer:
    return Answer(status, b"", {"Location": location})


def post(server: ScriptedServer, **more: Any) -> Any:
    payload = {"url": f"{server.url}/from", "method": "POST", "body": {"a": 1}, **more}
    return run_handler("http-request", payload)


def last(server: ScriptedServer) -> Request:
    return server.requests[-1]


@pytest.mark.parametrize(
    ("status", "method"), [(301, "GET"), (302, "GET"), (303, "GET"), (307, "POST"), (308, "POST")]
)
def test_the_method_changes_as_in_browsers(
    http_server: ScriptedServer, status: int, method: str
) -> None:
    http_server.script(redirect(status, "/to?x=1"))
    result = post(http_server, secret="s")
    assert (result["status"], result["redirects"]) == (200, 1)
    assert result["url"] == f"{http_server.url}/to?x=1"
    request = last(http_server)
    assert (request.method, request.path) == (method, "/to?x=1")
    has_body = method == "POST"
    assert request.body == (b'{"a":1}' if has_body else b"")
    assert (request.header("Content-Type") is not None) == has_body
    assert (request.header("webhook-signature") is not None) == has_body


@pytest.mark.parametrize(("method", "then"), [("PUT", "GET"), ("HEAD", "HEAD"), ("GET", "GET")])
def test_303_becomes_get_but_head_stays(
    http_server: ScriptedServer, method: str, then: str
) -> None:
    http_server.script(redirect(303, "/to"))
    run_handler("http-request", {"url": http_server.url, "method": method})
    assert last(http_server).method == then


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
def test_302_leaves_other_methods_alone(http_server: ScriptedServer, method: str) -> None:
    http_server.script(redirect(302, "/to"))
    run_handler("http-request", {"url": http_server.url, "method": method})
    assert last(http_server).method == method


def test_another_origin_gets_no_keys_and_no_signature(
    http_server: ScriptedServer, other_server: ScriptedServer
) -> None:
    http_server.script(redirect(307, f"{other_server.url}/to"))
    headers = {"Authorization": "Bearer x", "Cookie": "a=b", "X-Api-Key": "k", "Accept": "a/b"}
    post(http_server, headers=headers, secret="s")
    request = last(other_server)
    assert request.body == b'{"a":1}'
    assert request.header("Accept") == "a/b"
    assert request.header("Content-Type") == "application/json"
    sent = {name.lower() for name in request.headers}
    assert not sent & {"authorization", "cookie", "x-api-key", "x-job-id", "webhook-signature"}
    assert request.header("Host") == other_server.url.removeprefix("http://")


def test_the_same_origin_gets_all_headers_again(http_server: ScriptedServer) -> None:
    http_server.script(redirect(307, f"{http_server.url}/to"))
    post(http_server, headers={"Authorization": "Bearer x"}, secret="s")
    assert last(http_server).header("Authorization") == "Bearer x"
    assert last(http_server).header("webhook-signature")


def test_redirects_are_logged(http_server: ScriptedServer) -> None:
    http_server.script(redirect(302, "/to?key=hidden"))
    ctx = make_context()
    run_handler("http-request", {"url": http_server.url}, context=ctx)
    assert [m for _, _, m in ctx.drain()[1]] == [f"302 redirects to {http_server.url}/to"]


def test_five_redirects_are_followed_and_a_sixth_is_not(http_server: ScriptedServer) -> None:
    http_server.script(*[redirect(302, "/again")] * 5)
    assert run_handler("http-request", {"url": http_server.url})["redirects"] == 5
    http_server.script(*[redirect(302, "/again")] * 6)
    with pytest.raises(Permanent, match="more than 5 redirects"):
        run_handler("http-request", {"url": http_server.url})
    assert len(http_server.requests) == 12


@pytest.mark.parametrize(
    "location",
    [
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://127.0.0.1:6379/_FLUSHALL",
        "http://u:p@example.com/",
        "http://exa mple.com/",
        "http://[::1",
        "http://host:99999/",
    ],
)
def test_a_redirect_to_something_else_is_refused(
    http_server: ScriptedServer, location: str
) -> None:
    http_server.script(redirect(302, location))
    with pytest.raises(Permanent, match="redirects to a URL that"):
        run_handler("http-request", {"url": http_server.url})
    assert len(http_server.requests) == 1


def test_a_relative_location_with_raw_utf8_is_followed(http_server: ScriptedServer) -> None:
    http_server.script(redirect(302, "../žluť".encode().decode("latin-1")))
    run_handler("http-request", {"url": f"{http_server.url}/a/b"})
    assert last(http_server).path == "/%C5%BElu%C5%A5"


def test_a_redirect_from_https_to_http_is_refused(
    https_server: ScriptedServer, other_server: ScriptedServer
) -> None:
    https_server.script(redirect(302, other_server.url))
    with pytest.raises(Permanent, match="redirects to plain http"):
        run_handler("http-request", {"url": https_server.url})
    assert not other_server.requests
