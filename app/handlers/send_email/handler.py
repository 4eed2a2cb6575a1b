"""``send-email``: sends a message through the server in ``SMTP_URL``.

In development and tests without ``SMTP_URL``, messages are written to ``MAIL_DIR`` as ``.eml`` files instead.

SMTP can't accept a message exactly once: if the connection breaks between the message and the server's response,
the next attempt sends the message again, with the same Message-ID.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTPUTF8
from pathlib import Path
from typing import Any

from marshmallow import ValidationError

from app.handlers.send_email.message import (
    SendEmailPayload,
    build_message,
    parse_address,
    recipients_of,
)
from app.handlers.send_email.smtp import Refused, deliver, describe, parse_server
from app.jobs.context import Context
from app.jobs.control_flow import Permanent
from app.jobs.registry import job


@job("send-email", schema=SendEmailPayload)
def send_email(payload: dict[str, Any], ctx: Context) -> dict[str, Any]:
    """Sends an email over SMTP; in development without SMTP_URL, writes it to a file."""
    ctx.raise_if_cancelled()
    sender = payload["sender"] or _default_sender(ctx.settings.mail_from)
    if payload["sender"]:
        _check_sender(sender, ctx.settings.mail_from_allowed)
    message = build_message(payload, sender=sender, job_id=ctx.job_id)
    recipients = recipients_of(payload)
    if ctx.settings.smtp_url:
        server = parse_server(ctx.settings.smtp_url)
        refused = deliver(server, message, sender=sender.addr_spec, recipients=recipients, ctx=ctx)
        return _result(message, recipients, refused, ctx)
    if not ctx.settings.is_development or ctx.settings.mail_dir is None:
        raise Permanent(
            "SMTP_URL is not set, so no email can be sent; set it to "
            "smtp://user:password@mail.example.com:587?starttls and retry this job"
        )
    path = _write(ctx.settings.mail_dir, f"{ctx.job_id}.eml", message, recipients)
    return {
        "messageId": message["Message-ID"],
        "via": "file",
        "path": str(path),
        "accepted": recipients,
        "refused": [],
    }


def _default_sender(mail_from: str) -> Address:
    try:
        return parse_address(mail_from)
    except ValidationError:
        raise Permanent(
            f"MAIL_FROM is {mail_from!r}; set it to an address such as Jobs <jobs@example.com>"
        ) from None


def _check_sender(sender: Address, allowed: Sequence[str]) -> None:
    address, domain = sender.addr_spec.lower(), sender.domain.lower()
    if allowed and not {address, domain} & set(allowed):
        raise Permanent(
            f"from: {sender.addr_spec} is not allowed; use an address of {', '.join(allowed)}, "
            "or add it to MAIL_FROM_ALLOWED"
        )


def _result(
    message: EmailMessage, recipients: Sequence[str], refused: Refused, ctx: Context
) -> dict[str, Any]:
    # Not retried: the other recipients would get the message twice.
    for address, (code, text) in refused.items():
        ctx.log(f"{address} was refused: {describe(code, text)}", "warning")
    return {
        "messageId": message["Message-ID"],
        "via": "smtp",
        "accepted": [address for address in recipients if address not in refused],
        "refused": [
            {"address": address, "error": describe(code, text)}
            for address, (code, text) in refused.items()
        ],
    }


def _write(folder: Path, name: str, message: EmailMessage, recipients: Sequence[str]) -> Path:
    """The absolute path of the new file. Only its owner can read it: emails contain sign-in links.

    Another attempt replaces the file, so that there is one file for each message.
    """
    message["X-Envelope-To"] = ", ".join(recipients)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder.resolve() / name
    draft = path.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(message.as_bytes(policy=SMTPUTF8))
    os.replace(draft, path)
    return path
