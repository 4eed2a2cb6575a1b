"""Sends a message to an SMTP server, and decides what the server's replies mean for the job."""

from __future__ import annotations

import smtplib
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from email.message import EmailMessage
from urllib.parse import parse_qsl, unquote, urlsplit

from app.handlers.sockets.tls import tls_context
from app.handlers.sockets.watchdog import watchdog
from app.jobs.context import Context
from app.jobs.control_flow import JobTimeout, Permanent

#: Limits for the whole conversation and for a single reply of the server.
TOTAL_SECONDS = 120.0
REPLY_SECONDS = 30.0

_EXAMPLE = "smtp://user:password@mail.example.com:587?starttls"

Refused = Mapping[str, tuple[int, bytes]]  # address → code, text


class MailFailed(Exception):
    """The message was not accepted; another attempt may succeed."""


@dataclass(frozen=True, slots=True)
class Server:
    """An SMTP server. ``is_tls``: TLS from the first byte; ``is_starttls``: upgraded to TLS, which is required."""

    host: str
    port: int
    user: str | None
    password: str
    is_tls: bool
    is_starttls: bool


def parse_server(url: str) -> Server:
    """The server of an SMTP_URL: ``smtp://user:password@host:port``, ``smtps://…``, ``?starttls``.

    Ports default to 25, 587 with ``?starttls`` or a user, 465 for smtps. Raises Permanent.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise Permanent(f"SMTP_URL is not a URL; set it to a URL such as {_EXAMPLE}") from None
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname or set(options) - {"starttls"}:
        raise Permanent(
            f"SMTP_URL must be smtp:// or smtps:// with a host and no option but ?starttls, such as {_EXAMPLE}"
        )
    is_tls = parts.scheme == "smtps"
    is_starttls = options.get("starttls", "0").lower() not in ("0", "false", "no", "off")
    if is_tls and is_starttls:
        raise Permanent("SMTP_URL is smtps:// with ?starttls; use only one of them")
    default_port = 465 if is_tls else 587 if is_starttls or parts.username else 25
    return Server(
        host=parts.hostname,
        port=port or default_port,
        user=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password or ""),
        is_tls=is_tls,
        is_starttls=is_starttls,
    )


def deliver(
    server: Server, message: EmailMessage, *, sender: str, recipients: Sequence[str], ctx: Context
) -> Refused:
    """Send the message; returns the recipients that were refused if others were accepted.

    Raises Permanent for a permanent refusal, MailFailed for a temporary one and for a broken connection,
    JobTimeout at the attempt's deadline.
    """
    remaining = ctx.remaining()
    seconds = TOTAL_SECONDS if remaining is None else min(TOTAL_SECONDS, remaining)
    ends_at = time.monotonic() + seconds
    client = _client(server, timeout=max(0.001, min(REPLY_SECONDS, seconds)))
    try:
        # A cancel request does not break the conversation: it would be unclear whether the email was sent.
        with watchdog(ctx, ends_at, lambda: client.sock, is_cancellable=False):
            _open(client, server)
            ctx.raise_if_cancelled()
            refused: Refused = client.send_message(message, sender, list(recipients))
            # The message is accepted: an error while closing must not send it again.
            with suppress(OSError, smtplib.SMTPException):
                client.quit()
            return refused
    except (OSError, smtplib.SMTPException, ValueError) as error:
        if ctx.remaining() == 0:
            raise JobTimeout from error
        if time.monotonic() >= ends_at:
            raise MailFailed(
                f"{server.host} did not accept the message within {seconds:g} s"
            ) from error
        raise _job_error(error, server) from error
    finally:
        client.close()


def _client(server: Server, timeout: float) -> smtplib.SMTP:
    name = _own_name()
    if server.is_tls:
        client: smtplib.SMTP = smtplib.SMTP_SSL(
            local_hostname=name, timeout=timeout, context=tls_context()
        )
    else:
        client = smtplib.SMTP(local_hostname=name, timeout=timeout)
    # The constructor would connect before the watchdog knows the socket, and connect() alone does not
    # set the name that TLS verifies.
    client._host = server.host  # type: ignore[attr-defined]
    return client


def _own_name() -> str:
    # smtplib's own default asks the DNS, which may take many seconds.
    name = socket.gethostname()
    return name if name.isascii() and "." in name else "[127.0.0.1]"


def _open(client: smtplib.SMTP, server: Server) -> None:
    code, text = client.connect(server.host, server.port)
    if code != 220:
        raise smtplib.SMTPConnectError(code, text)
    if server.is_starttls:
        client.starttls(context=tls_context())
    if server.user is not None:
        client.login(server.user, server.password)


def _job_error(error: Exception, server: Server) -> Exception:
    """5xx → Permanent; 4xx and any error without a reply → MailFailed."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        replies = list(error.recipients.values())
        refused = "; ".join(
            f"{address} ({describe(code, text)})"
            for address, (code, text) in error.recipients.items()
        )
        reason = f"{server.host} refused all recipients: {refused}"
        return _by_code(max(replies, key=lambda reply: reply[0] < 500)[0], reason)
    if isinstance(error, smtplib.SMTPResponseException):
        reason = f"{server.host} replied {describe(error.smtp_code, error.smtp_error)}"
        return _by_code(error.smtp_code, reason)
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return Permanent(f"{server.host} can't accept the message: {error}")
    if isinstance(error, TimeoutError):
        return MailFailed(f"{server.host} port {server.port} timed out")
    return MailFailed(f"{server.host} port {server.port}: {error or type(error).__name__}")


def _by_code(code: int, reason: str) -> Exception:
    return Permanent(reason) if 500 <= code < 600 else MailFailed(reason)


def describe(code: int, text: bytes | str) -> str:
    """A server's reply on a single line."""
    words = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
    return f"{code} {' '.join(words.split())}"[:300]
