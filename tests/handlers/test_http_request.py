"""http-request with real servers: what is sent, and what each response means for the job."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from app.handlers.http_request.client import RequestFailed
from app.handlers.http_request.status import UnexpectedStatus, retry_after_seconds
from app.jobs.control_flow import Permanent, RetryAfter, Throttle
from app.jobs.testing import make_context, make_settings, run_handler
from tests.support.http_server import Answer, ScriptedServer


def call(server: ScriptedServer, path: str = "/", **payload: Any) -> dict[str, Any]:
    result = run_handler("http-request", {"url": f"{server.url}{path}", **payload})
    assert isinstance(result, dict)
    return result


# What is sent


def test_a_url_alone_is_a_get(http_server: ScriptedServer) -> None:
    ctx = make_context(attempt=2)
    run_handler("http-request", {"url": f"{http_server.url}/a?b=c#d"}, context=ctx)
    (request,) = http_server.requests
    assert (request.method, request.path, request.body) == ("GET", "/a?b=c", b"")
    assert request.header("Host") == http_server.url.removeprefix("http://")
    assert request.header("X-Job-Id") == str(ctx.job_id)
    assert request.header("X-Job-Attempt") == "2"
    assert request.header("Accept-Encoding") == "identity"
    assert "webhook-signature" not in request.headers


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "options"])
def test_every_method_is_sent(http_server: ScriptedServer, method: str) -> None:
    assert call(http_server, method=method)["status"] == 200
    assert http_server.requests[0].method == method.upper()


def test_an_object_is_sent_as_json(http_server: ScriptedServer) -> None:
    call(http_server, method="POST", body={"name": "Žofie", "n": [1, None]})
    (request,) = http_server.requests
    assert request.body == '{"name":"Žofie","n":[1,null]}'.encode()
    assert request.header("Content-Type") == "application/json"
    assert request.header("Content-Length") == str(len(request.body))


@pytest.mark.parametrize("body", [[], 0, False])
def test_falsy_json_is_sent_as_a_body(http_server: ScriptedServer, body: Any) -> None:
    call(http_server, method="POST", body=body)
    assert json.loads(http_server.requests[0].body) == body


def test_a_string_is_sent_unchanged(http_server: ScriptedServer) -> None:
    call(http_server, method="POST", body="a=1&ž=2", headers={"content-type": "application/x-me"})
    (request,) = http_server.requests
    assert request.body == "a=1&ž=2".encode()
    assert request.header("Content-Type") == "application/x-me"


def test_a_post_without_a_body_has_content_length_0(http_server: ScriptedServer) -> None:
    call(http_server, method="POST", body=None)
    assert http_server.requests[0].header("Content-Length") == "0"


def test_headers_of_the_payload_replace_defaults_in_any_case(http_server: ScriptedServer) -> None:
    call(http_server, headers={"USER-AGENT": "mine"})
    names = [name for name in http_server.requests[0].headers if name.lower() == "user-agent"]
    assert names == ["USER-AGENT"]
    assert http_server.requests[0].header("User-Agent") == "mine"


@pytest.mark.parametrize(
    ("secret", "key"),
    [("s3cret ž", "s3cret ž".encode()), ("whsec_" + base64.b64encode(b"key").decode(), b"key")],
)
def test_a_secret_signs_the_request_by_standard_webhooks(
    http_server: ScriptedServer, secret: str, key: bytes
) -> None:
    ctx = make_context()
    payload = {"url": http_server.url, "method": "POST", "body": {"a": 1}, "secret": secret}
    run_handler("http-request", payload, context=ctx)
    (request,) = http_server.requests
    at = request.header("webhook-timestamp") or ""
    assert abs(int(at) - datetime.now(UTC).timestamp()) < 60
    assert request.header("webhook-id") == str(ctx.job_id)
    signed = f"{ctx.job_id}.{at}.".encode() + request.body
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert request.header("webhook-signature") == f"v1,{expected}"


# What comes back


def test_the_result_contains_status_headers_and_body(http_server: ScriptedServer) -> None:
    headers = {"Content-Type": "text/plain", "ETag": '"1"', "Set-Cookie": "s=1"}
    http_server.script(Answer(201, "žluť".encode(), headers))
    result = call(http_server, "/x?y")
    assert result.pop("elapsedMs") >= 0
    kept = result.pop("headers")
    assert kept["content-type"] == "text/plain"
    assert kept["etag"] == '"1"'
    assert "set-cookie" not in kept
    assert result == {
        "status": 201,
        "url": f"{http_server.url}/x?y",
        "redirects": 0,
        "body": "žluť",
        "bodyEncoding": "text",
        "bodyTruncated": False,
    }


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"\xff\xfe\x00binary", {}),
        (b"nul \0 inside", {"Content-Type": "text/plain"}),
        (b"compressed, it says", {"Content-Encoding": "gzip"}),
    ],
)
def test_a_body_that_is_not_text_is_stored_as_base64(
    http_server: ScriptedServer, body: bytes, headers: dict[str, str]
) -> None:
    http_server.script(Answer(200, body, headers))
    result = call(http_server)
    assert result["bodyEncoding"] == "base64"
    assert base64.b64decode(result["body"]) == body


@pytest.mark.parametrize("charset", ["iso-8859-2", "no-such-charset", "unicode_escape", "zip"])
def test_only_known_charsets_are_used(http_server: ScriptedServer, charset: str) -> None:
    body = "ž\\x41".encode("iso-8859-2" if charset == "iso-8859-2" else "utf-8")
    http_server.script(Answer(200, body, {"Content-Type": f'text/plain; charset="{charset}"'}))
    assert call(http_server)["body"] == "ž\\x41"


def test_a_long_body_is_cut_between_characters(http_server: ScriptedServer) -> None:
    http_server.script(Answer(200, b"x" + "ž".encode() * 100_000))
    result = call(http_server)
    assert result["bodyTruncated"] is True
    assert result["body"] == "x" + "ž" * (64 * 1024 // 2 - 1)


def test_a_result_fits_into_max_result_bytes(http_server: ScriptedServer) -> None:
    http_server.script(Answer(200, b"\x01" * 100_000))
    settings = make_settings(max_result_bytes=8192)
    result = run_handler("http-request", {"url": http_server.url}, settings=settings)
    assert len(json.dumps(result)) <= 8192


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_2xx_completes(http_server: ScriptedServer, status: int) -> None:
    http_server.script(Answer(status, b""))
    assert call(http_server)["status"] == status


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 413, 422, 451, 499])
def test_4xx_is_permanent(http_server: ScriptedServer, status: int) -> None:
    http_server.script(Answer(status, b"because of this\nand that"))
    with pytest.raises(Permanent, match=rf"returned {status}.*: because of this and that"):
        call(http_server)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 501, 502, 503, 504, 599])
def test_5xx_and_temporary_4xx_are_retried(http_server: ScriptedServer, status: int) -> None:
    http_server.script(status)
    with pytest.raises(UnexpectedStatus, match=rf"GET {http_server.url}/hook returned {status}"):
        call(http_server, "/hook?key=hidden")


@pytest.mark.parametrize("status", [300, 304, 302])
def test_a_redirect_without_a_location_is_permanent(
    http_server: ScriptedServer, status: int
) -> None:
    http_server.script(Answer(status, b""))
    with pytest.raises(Permanent, match=f"returned {status}"):
        call(http_server)


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_in_seconds_is_honored(http_server: ScriptedServer, status: int) -> None:
    http_server.script(Answer(status, headers={"Retry-After": "17"}))
    with pytest.raises(RetryAfter) as caught:
        call(http_server)
    assert caught.value.seconds == 17
    assert f"returned {status}" in str(caught.value)


def test_too_many_requests_close_the_key_of_a_limited_job(http_server: ScriptedServer) -> None:
    http_server.script(Answer(429, headers={"Retry-After": "17"}))
    with pytest.raises(Throttle) as caught:
        run_handler("http-request", {"url": http_server.url}, limit="partner")
    assert (caught.value.seconds, caught.value.scope) == (17, "key")
    assert "returned 429" in str(caught.value)


def test_a_limited_job_is_retried_without_retry_after(http_server: ScriptedServer) -> None:
    http_server.script(429)
    with pytest.raises(UnexpectedStatus):
        run_handler("http-request", {"url": http_server.url}, limit="partner")


def test_retry_after_as_a_date_is_honored(http_server: ScriptedServer) -> None:
    at = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    http_server.script(Answer(503, headers={"Retry-After": at}))
    with pytest.raises(RetryAfter) as caught:
        call(http_server)
    assert 80 < caught.value.seconds <= 90


NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("\u0663", None),
        ("0", 1),
        ("3600", 3600),
        ("9" * 5000, 86400),
        ("Thu, 01 Jan 2026 00:01:00 GMT", 60),
        ("Thu, 01 Jan 2026 02:01:00 +0200", 60),
        ("Wed, 31 Dec 2025 00:00:00 GMT", 1),
        ("Fri, 01 Jan 2100 00:00:00 GMT", 86400),
        ("Thu, 99 Foo 2026 99:99:99 GMT", None),
    ],
)
def test_retry_after_is_between_1_second_and_a_day(value: str | None, wait: float | None) -> None:
    assert retry_after_seconds(value, NOW) == wait


def test_a_refused_connection_is_retried(http_server: ScriptedServer) -> None:
    http_server.close()
    with pytest.raises(RequestFailed, match=r"can't connect to 127\.0\.0\.1 port \d+: .*refused"):
        call(http_server)


def test_a_dropped_connection_is_retried(http_server: ScriptedServer) -> None:
    http_server.script(Answer(hang_up=True))
    with pytest.raises(RequestFailed, match="did not send a valid response"):
        call(http_server)


def test_an_unknown_host_is_retried() -> None:
    with pytest.raises(Exception, match=r"no-such-host\.invalid can't be resolved"):
        run_handler("http-request", {"url": "http://no-such-host.invalid/"})


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<!doctype html><html><head><title>404 Not\n Found &amp; gone</title></head><body>x</body>", ": 404 Not Found & gone"),
        (b"<html><style>p { color: red }</style><script>if (1 < 2) {}</script><p>No such <b>page</b></p>", ": No such page"),
        (b"<html><!-- secret --><img src=x>", ""),
        (b"a < b and c > d", ": a < b and c > d"),
    ],
)  # fmt: skip
def test_a_web_page_as_an_error_is_reduced_to_its_text(
    http_server: ScriptedServer, body: bytes, words: str
) -> None:
    http_server.script(Answer(404, body=body))
    with pytest.raises(Permanent) as caught:
        call(http_server)
    assert str(caught.value).endswith(f"returned 404 Not Found{words}")
