"""The fixtures themselves: what other tests rely on."""

import smtplib
import urllib.request

import psycopg2
import pytest
from redis.exceptions import NoPermissionError

from app.dev import redis_server
from app.dev.bootstrap import remove_data
from app.dev.home import Home
from app.dev.instance import fresh_instance
from tests.support import services
from tests.support.http_server import Answer
from tests.support.smtp_server import PERMANENT
from tests.support.waiting import wait_until


def test_the_http_server_responds_as_scripted_and_records_requests(http_server):
    http_server.script(204)

    with urllib.request.urlopen(f"{http_server.url}/a?b=1", data=b"{}") as response:
        assert response.status == 204
    with urllib.request.urlopen(http_server.url) as response:
        assert response.read() == b"ok"

    first = http_server.requests[0]
    assert (first.method, first.path, first.body) == ("POST", "/a?b=1", b"{}")
    assert first.header("host") == http_server.url.removeprefix("http://")


def test_the_mail_server_records_and_refuses_messages_as_scripted(smtp_server):
    smtp_server.refuse(PERMANENT)
    with smtplib.SMTP("127.0.0.1", smtp_server.port) as client:
        with pytest.raises(smtplib.SMTPDataError):
            client.sendmail("a@example.com", ["b@example.com"], "Subject: no\r\n\r\nbody")
        client.sendmail("a@example.com", ["b@example.com"], "Subject: yes\r\n\r\nbody")

    [received] = smtp_server.received
    assert received.message["Subject"] == "yes"
    assert received.recipients == ["b@example.com"]


def test_waiting_ends_with_the_reason():
    with pytest.raises(AssertionError, match=r"not within 0\.05 s: a miracle"):
        wait_until(lambda: False, timeout=0.05, what="a miracle")


def test_the_services_are_real_and_start_empty(database_url, redis):
    connection = psycopg2.connect(database_url)
    with connection.cursor() as cursor:
        cursor.execute("SELECT (SELECT count(*) FROM jobs), version()")
        count, version = cursor.fetchone()
    connection.close()

    assert count == 0
    assert version.startswith("PostgreSQL")
    assert redis.dbsize() == 0
    redis.set("left", "behind")


@pytest.mark.parametrize("command", ["FLUSHALL", "SWAPDB 1 2", "CONFIG SET maxmemory 0"])
def test_the_shared_redis_refuses_what_reaches_tests_of_other_workers(redis, command):
    with pytest.raises(NoPermissionError):
        redis.execute_command(*command.split())


def test_another_redis_can_serve_the_tests(tmp_path, monkeypatch):
    server = tmp_path / "redis-server"
    server.write_text("#!/bin/sh\n")
    server.chmod(0o755)
    monkeypatch.setattr(redis_server, "_binary", redis_server._binary)
    monkeypatch.setenv("JOBQUEUE_TEST_REDIS_SERVER", str(server))

    services.use_another_redis()

    with fresh_instance(Home(tmp_path / "var")) as instance:
        binary = redis_server._binary(instance)
        assert binary.read_text() == "#!/bin/sh\n"
    remove_data(tmp_path / "var")


def test_a_private_postgres_recovers_from_a_crash_on_the_same_port(private):
    private.crash_postgres()
    with pytest.raises(psycopg2.OperationalError):
        psycopg2.connect(private.database_url)
    private.start_postgres()

    psycopg2.connect(private.database_url).close()


@pytest.mark.journey
def test_the_programs_of_the_procfile_start_and_end(consumer, web, client):
    worker, server = consumer(), web()

    assert client.get("/health").status_code == 200
    with urllib.request.urlopen(f"{server.url}/health") as response:
        assert response.status == 200
    assert worker.stop() == 0
    assert not worker.is_alive


@pytest.mark.browser
def test_the_browser_opens_a_page(page, http_server):
    http_server.script(Answer(body=b"<h1>Hello</h1>", headers={"Content-Type": "text/html"}))

    page.goto(http_server.url)

    assert page.locator("h1").inner_text() == "Hello"
