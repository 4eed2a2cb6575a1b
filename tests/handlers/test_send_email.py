"""send-email over real SMTP: what arrives, which recipients are refused, and what each reply means for the job."""

from __future__ import annotations

import os
import socket
import stat
import threading
from email.header import Header
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP as SMTPServer
from aiosmtpd.smtp import AuthResult

from app.dev.instance import free_port
from app.errors import ValidationFailed
from app.handlers.send_email.smtp import MailFailed, parse_server
from app.jobs.control_flow import Cancel, JobTimeout, Permanent
from app.jobs.ids import new_id
from app.jobs.testing import make_context, make_settings, run_handler
from tests.handlers.conftest import server_context
from tests.support.smtp_server import PERMANENT, TEMPORARY, MailServer

MAIL = {"to": "ada@example.com", "subject": "Your invoice", "body": "Thank you."}


def send(url: str, payload: dict[str, Any] | None = None, **options: Any) -> Any:
    settings = make_settings(smtp_url=url, mail_from="Jobs <jobs@example.org>")
    return run_handler("send-email", {**MAIL, **(payload or {})}, settings=settings, **options)


class TestArrival:
    def test_a_message_arrives(self, smtp_server: MailServer) -> None:
        job_id = new_id()
        ctx = make_context("send-email", settings=make_settings(smtp_url=smtp_server.url), job_id=job_id)  # fmt: skip
        result = run_handler("send-email", MAIL, context=ctx)
        [got] = smtp_server.received
        assert got.recipients == ["ada@example.com"]
        assert got.message["Subject"] == "Your invoice"
        assert got.message["Message-ID"] == f"<{job_id}@localhost>"
        assert got.message["Auto-Submitted"] == "auto-generated"
        assert got.message.get_content().strip() == "Thank you."
        assert result == {
            "messageId": got.message["Message-ID"],
            "via": "smtp",
            "accepted": ["ada@example.com"],
            "refused": [],
        }

    def test_all_recipients_get_the_message_and_bcc_stays_hidden(
        self, smtp_server: MailServer
    ) -> None:
        send(
            smtp_server.url,
            {
                "to": ["Ada Lovelace <ada@example.com>", "bob@example.com"],
                "cc": "carl@example.com",
                "bcc": ["dora@example.com", "ada@example.com"],
                "from": "Shop <shop@example.net>",
                "replyTo": "help@example.net",
            },
        )
        [got] = smtp_server.received
        assert got.sender == "shop@example.net"
        assert got.recipients == [f"{name}@example.com" for name in ("ada", "bob", "carl", "dora")]
        assert got.message["To"] == "Ada Lovelace <ada@example.com>, bob@example.com"
        assert got.message["Reply-To"] == "help@example.net"
        assert "dora" not in got.message.as_string()

    def test_text_in_any_alphabet_arrives_unchanged(self, smtp_server: MailServer) -> None:
        text = "Žluťoučký kůň 🐎\n.\n..leading dots\n" + "long " * 400
        send(smtp_server.url, {"subject": "Účet č. 5 ✓", "body": text})
        [got] = smtp_server.received
        assert got.message["Subject"] == "Účet č. 5 ✓"
        assert got.message.get_content().replace("\r\n", "\n").rstrip() == text.rstrip()

    def test_text_and_html_are_alternatives(self, smtp_server: MailServer) -> None:
        send(smtp_server.url, {"html": "<p>Thank <b>you</b>.</p>"})
        [got] = smtp_server.received
        assert got.message.get_content_type() == "multipart/alternative"
        assert [p.get_content_type() for p in got.message.iter_parts()] == [
            "text/plain",
            "text/html",
        ]

    def test_a_domain_in_any_alphabet_is_encoded_for_the_dns(self, smtp_server: MailServer) -> None:
        send(smtp_server.url, {"to": "ada@bücher.example"})
        assert smtp_server.received[0].recipients == ["ada@xn--bcher-kva.example"]


class TestRefusals:
    def test_a_temporary_reply_is_retried(self, smtp_server: MailServer) -> None:
        smtp_server.refuse(TEMPORARY)
        with pytest.raises(MailFailed, match="replied 451 Try again later"):
            send(smtp_server.url)
        assert send(smtp_server.url)["accepted"] == ["ada@example.com"]

    def test_a_permanent_reply_is_not_retried(self, smtp_server: MailServer) -> None:
        smtp_server.refuse(PERMANENT)
        with pytest.raises(Permanent, match="replied 550 No such user here"):
            send(smtp_server.url)

    def test_a_refused_recipient_is_reported_and_the_others_get_the_message(
        self, smtp_server: MailServer
    ) -> None:
        smtp_server.refuse_recipients(PERMANENT)
        ctx = make_context("send-email", settings=make_settings(smtp_url=smtp_server.url))
        payload = {**MAIL, "to": ["gone@example.com", "ada@example.com"]}
        result = run_handler("send-email", payload, context=ctx)
        assert result["accepted"] == ["ada@example.com"]
        assert result["refused"] == [
            {"address": "gone@example.com", "error": "550 No such user here"}
        ]
        _, lines = ctx.drain(is_last=True)
        assert "gone@example.com was refused" in str(lines)

    @pytest.mark.parametrize(
        ("answers", "error"),
        [((PERMANENT, PERMANENT), Permanent), ((PERMANENT, TEMPORARY), MailFailed)],
    )
    def test_refusal_of_all_recipients_is_permanent_only_if_each_refusal_is(
        self, smtp_server: MailServer, answers: tuple[str, ...], error: type[Exception]
    ) -> None:
        smtp_server.refuse_recipients(*answers)
        with pytest.raises(error, match="refused all recipients"):
            send(smtp_server.url, {"to": ["a@example.com", "b@example.com"]})
        assert smtp_server.received == []


class TestServersThatMisbehave:
    def test_a_server_that_does_not_listen(self) -> None:
        port = free_port()
        with pytest.raises(MailFailed, match=f"127.0.0.1 port {port}: "):
            send(f"smtp://127.0.0.1:{port}")

    def test_an_invalid_greeting(self, raw_server: Any) -> None:
        server = raw_server(lambda s: s.sendall(b"554 go away\r\n"))
        with pytest.raises(Permanent, match="554 go away"):
            send(server.url.replace("http", "smtp"))

    def test_a_connection_that_breaks_in_the_middle(self, raw_server: Any) -> None:
        server = raw_server(lambda s: (s.sendall(b"220 hi\r\n"), s.recv(100)))
        with pytest.raises(MailFailed):
            send(server.url.replace("http", "smtp"))

    def test_a_silent_server_is_waited_for_until_the_deadline(self, raw_server: Any) -> None:
        hold = threading.Event()
        server = raw_server(lambda s: hold.wait(20))
        try:
            with pytest.raises(JobTimeout):
                send(server.url.replace("http", "smtp"), timeout_seconds=0.5)
        finally:
            hold.set()

    def test_a_server_that_sends_slowly_is_cut_off_at_the_deadline(self, raw_server: Any) -> None:
        def drip(connection: socket.socket) -> None:
            for _ in range(200):
                connection.sendall(b"2")
                threading.Event().wait(0.05)

        with pytest.raises(JobTimeout):
            send(raw_server(drip).url.replace("http", "smtp"), timeout_seconds=0.6)

    def test_a_job_cancelled_before_it_starts_sends_nothing(self, smtp_server: MailServer) -> None:
        ctx = make_context("send-email", settings=make_settings(smtp_url=smtp_server.url))
        ctx.request_cancel()
        with pytest.raises(Cancel):
            run_handler("send-email", MAIL, context=ctx)
        assert smtp_server.received == []


class TestEncryption:
    """A server with STARTTLS and a login, as providers have."""

    @pytest.fixture
    def provider(self, smtp_server: MailServer, authority: Any) -> Any:
        def login(
            server: Any, session: Any, envelope: Any, mechanism: str, data: Any
        ) -> AuthResult:
            is_known = (data.login, data.password) == (b"me", b"p@ss word")
            return AuthResult(success=is_known, handled=False)

        class Provider(Controller):
            def factory(self) -> SMTPServer:
                return SMTPServer(
                    self.handler,
                    tls_context=server_context(authority, "localhost"),
                    require_starttls=True,
                    authenticator=login,
                    auth_required=True,
                )

        controller = Provider(smtp_server, hostname="localhost", port=free_port())
        controller.start()
        yield controller.port
        controller.stop()

    def test_starttls_and_login(self, provider: int, smtp_server: MailServer) -> None:
        send(f"smtp://me:p%40ss%20word@localhost:{provider}?starttls")
        assert len(smtp_server.received) == 1

    def test_a_wrong_password_is_permanent_and_not_in_the_error(
        self, provider: int, smtp_server: MailServer
    ) -> None:
        with pytest.raises(Permanent) as caught:
            send(f"smtp://me:wr0ng@localhost:{provider}?starttls")
        assert "535" in str(caught.value)
        assert "wr0ng" not in str(caught.value)

    def test_a_server_with_an_untrusted_certificate_gets_nothing(
        self, provider: int, smtp_server: MailServer
    ) -> None:
        with pytest.raises(MailFailed, match="CERTIFICATE_VERIFY_FAILED"):
            send(f"smtp://me:p%40ss%20word@127.0.0.1:{provider}?starttls")
        assert smtp_server.received == []

    def test_a_server_without_starttls_does_not_get_the_password(
        self, smtp_server: MailServer
    ) -> None:
        with pytest.raises(Permanent, match="STARTTLS"):
            send(f"{smtp_server.url.replace('smtp://', 'smtp://me:secret@')}?starttls")
        assert smtp_server.received == []

    @pytest.mark.parametrize(
        ("url", "port", "is_tls", "is_starttls"),
        [
            ("smtp://h", 25, False, False),
            ("smtp://h?starttls", 587, False, True),
            ("smtp://u:p@h", 587, False, False),
            ("smtps://h", 465, True, False),
            ("smtp://h:2525?starttls=0", 2525, False, False),
        ],
    )
    def test_the_parts_of_smtp_url(
        self, url: str, port: int, is_tls: bool, is_starttls: bool
    ) -> None:
        server = parse_server(url)
        assert (server.port, server.is_tls, server.is_starttls) == (port, is_tls, is_starttls)


class TestFiles:
    def test_development_without_a_server_writes_a_file(self, tmp_path: Path) -> None:
        settings = make_settings(smtp_url=None, mail_dir=tmp_path / "mail")
        result = run_handler("send-email", {**MAIL, "bcc": "b@example.com"}, settings=settings)
        assert result["via"] == "file"
        text = Path(result["path"]).read_text()
        assert "Subject: Your invoice" in text
        assert "X-Envelope-To: ada@example.com, b@example.com" in text
        assert [p.suffix for p in (tmp_path / "mail").iterdir()] == [".eml"]

    def test_only_its_owner_can_read_a_file(self, tmp_path: Path) -> None:
        settings = make_settings(smtp_url=None, mail_dir=tmp_path / "var" / "mail")
        before = os.umask(0o022)
        try:
            path = Path(run_handler("send-email", MAIL, settings=settings)["path"])
        finally:
            os.umask(before)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700

    def test_production_without_a_server_says_what_to_set(self) -> None:
        settings = make_settings(app_env="production", smtp_url=None)
        with pytest.raises(Permanent, match="SMTP_URL is not set"):
            run_handler("send-email", MAIL, settings=settings)


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        ({"to": None}, "to"),
        ({"to": []}, "to"),
        ({"to": "nobody"}, "to"),
        ({"to": ["ada@example.com", "x@"]}, "to"),
        *[
            ({"to": odd}, "to")
            for odd in ("@", "<", "a@b@c", "<>", "(", '"', "a@[", ",", ";", ":", "=?")
        ],
        ({"to": "a@example.com, b@example.com"}, "to"),
        ({"to": "ada@example.com\nBcc: eve@example.com"}, "to"),
        ({"to": [f"a{n}@example.com" for n in range(101)]}, "to"),
        ({"subject": ""}, "subject"),
        ({"subject": "a\r\nBcc: eve@example.com"}, "subject"),
        ({"subject": "x" * 901}, "subject"),
        ({"body": 5}, "body"),
        ({"from": "x"}, "from"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_an_invalid_payload_is_refused_with_the_field(payload: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationFailed) as caught:
        run_handler("send-email", {**MAIL, **payload})
    assert field in str(caught.value.errors)


INJECTION = "x=0d=0aReply-To:_thief=40evil.example=0d=0aContent-Type:_text/html=0d=0a=0d=0a=3Cb=3E"
ENCODED = f"=?utf-8?q?{INJECTION}?="
NESTED = Header(ENCODED, "utf-8", maxlinelen=10_000).encode()
LINE_SEPARATORS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"


class TestSenders:
    ALLOWED = ("example.org", "shop@example.net")

    @pytest.mark.parametrize(
        "sender", ["a@example.org", "A <x@EXAMPLE.ORG>", "Shop <Shop@example.net>", None]
    )
    def test_an_allowed_sender_is_accepted(
        self, smtp_server: MailServer, sender: str | None
    ) -> None:
        settings = make_settings(
            smtp_url=smtp_server.url, mail_from="j@own.example", mail_from_allowed=self.ALLOWED
        )
        run_handler("send-email", {**MAIL, "from": sender} if sender else MAIL, settings=settings)
        assert len(smtp_server.received) == 1

    @pytest.mark.parametrize(
        "sender", ["ceo@example.net", "a@sub.example.org", "a@example.org.evil.example"]
    )
    def test_any_other_sender_is_refused(self, smtp_server: MailServer, sender: str) -> None:
        settings = make_settings(smtp_url=smtp_server.url, mail_from_allowed=self.ALLOWED)
        with pytest.raises(Permanent, match="MAIL_FROM_ALLOWED"):
            run_handler("send-email", {**MAIL, "from": sender}, settings=settings)
        assert smtp_server.received == []


class TestInjection:
    @pytest.mark.parametrize(
        "subject",
        [
            ENCODED,
            NESTED,
            f"Hello {ENCODED} and =?utf-8?b?DQpCY2M6IHg=?=",
            "=?utf-8?q?a?= =?utf-8?q?b?=",
            "=?us-ascii?q?=0aBcc:_eve=40evil.example?=",
            "5 =? 6 ?= 11",
            "word " * 170 + "=?utf-8?q?=0d=0aBcc:x?=",
            "x" * 900,
        ],
    )
    def test_a_subject_is_sent_literally(self, smtp_server: MailServer, subject: str) -> None:
        send(smtp_server.url, {"subject": subject.strip()})
        [got] = smtp_server.received
        assert got.message["Subject"] == subject.strip()
        assert sorted(got.message.keys()) == sorted(
            ["From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version",
             "Content-Type", "Content-Transfer-Encoding"]
        )  # fmt: skip
        assert got.message.get_content_type() == "text/plain"
        assert got.message.get_content().strip() == "Thank you."

    @pytest.mark.parametrize("field", ["to", "cc", "bcc", "from", "replyTo"])
    @pytest.mark.parametrize(
        "name",
        [
            ENCODED,
            NESTED,
            f'"{ENCODED}"',
            '"' + ENCODED.replace("?", "\\?") + '"',
            "=?utf-8?q?Ada?=",
        ],
    )
    def test_a_name_with_encoded_words_is_refused(self, field: str, name: str) -> None:
        with pytest.raises(ValidationFailed) as caught:
            run_handler("send-email", {**MAIL, field: f"{name} <ada@example.com>"})
        assert list(caught.value.errors) == [f"payload.{field}"]

    @pytest.mark.parametrize("character", [*LINE_SEPARATORS, "\0", "\x7f", "\x9b", "\t"])
    def test_headers_contain_no_line_breaks_or_control_characters(self, character: str) -> None:
        for field, value in (
            ("subject", f"a{character}Bcc: eve@evil.example"),
            *((name, f"A{character}b <ada@example.com>") for name in ("to", "cc", "bcc")),
            ("from", f'"A{character}b" <ada@example.com>'),
            ("replyTo", f"ada{character}@example.com"),
        ):
            with pytest.raises(ValidationFailed) as caught:
                run_handler("send-email", {**MAIL, field: value})
            assert list(caught.value.errors) == [f"payload.{field}"]

    def test_a_name_in_any_alphabet_arrives(self, smtp_server: MailServer) -> None:
        send(smtp_server.url, {"to": "Žofie = ? <zofie@example.com>"})
        [got] = smtp_server.received
        assert got.message["To"].addresses[0].display_name == "Žofie = ?"
