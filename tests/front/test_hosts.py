"""Invalid Host headers."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.journey

BAD = ["x" * 64, "a..b", "", " ", "a b", "a/b", "a@b", ".", "-a", "x:99999", "x:port", "[::1", "a,b", "é.example", "x" * 300, "%00", "<script>"]  # fmt: skip
GOOD = ["localhost", "localhost:80", "LOCALHOST", "127.0.0.1:65535", "[::1]:3000", "a-b.c_d.example.", "xn--e1afmkfd.example"]  # fmt: skip


@pytest.mark.parametrize(
    "path", ["/", "/nope", "/api/jobs", "/sign-in", "/static/css/base.css", "/health"]
)
@pytest.mark.parametrize("host", BAD)
def test_an_invalid_host_gets_a_plain_400_with_security_headers(app, caplog, host, path):
    response = app.test_client().get(path, environ_overrides={"HTTP_HOST": host})
    assert response.status_code == 400
    assert "valid host name" in response.text
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "Content-Security-Policy" in response.headers
    assert len(caplog.records) <= 1


@pytest.mark.parametrize("host", GOOD)
def test_a_valid_host_is_accepted(app, host):
    response = app.test_client().get("/health", environ_overrides={"HTTP_HOST": host})
    assert response.status_code == 200


def test_multiple_hosts_and_a_missing_host_are_refused(server, wire):
    one = wire(server).send("GET /nope HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
    status, headers, _ = one.answer()
    assert (status, headers["x-frame-options"]) == (400, "DENY")
    one = wire(server).send("GET /nope HTTP/1.1\r\nHost: a..b\r\n\r\n")
    assert one.answer()[0] == 400
    assert "Traceback" not in server.output
