"""The payload of ``send-email`` and the message made of it."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.header import Header
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Any, cast

import idna
from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from app.handlers.payload_fields import messages, refuse_control_characters

MAX_RECIPIENTS = 100
MAX_SUBJECT_CHARACTERS = 900
#: Fits the line of the header's name; a longer one is encoded, and so can be folded anywhere.
MAX_PLAIN_SUBJECT = 69
_ADDRESS = "give an address such as ada@example.com or Ada Lovelace <ada@example.com>"
_ADDRESSES = "give an address such as ada@example.com, or a list of them"
_SUBJECT = f"give one line of 1 to {MAX_SUBJECT_CHARACTERS} characters"
_DOMAIN = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?:\.(?!-)[A-Za-z0-9-]{1,63})*", re.ASCII)


def parse_address(value: str) -> Address:
    """One address, with or without a name in plain text. Raises ValidationError."""
    refuse_control_characters(value)
    _refuse_encoded_words(value)
    try:
        header = SMTP.header_factory("To", value)
    except Exception:  # the standard parser trips over some malformed ones: IndexError for "x@"
        raise ValidationError(f"is not one e-mail address; {_ADDRESS}") from None
    found = cast("tuple[Address, ...]", header.addresses)
    if header.defects or len(found) != 1 or not found[0].domain or ":" in value.partition("<")[0]:
        raise ValidationError(f"is not one e-mail address; {_ADDRESS}")
    address = found[0]
    # Again, without the quotes and backslashes that the parser has removed.
    _refuse_encoded_words(str(address.display_name) + address.username)
    domain = _ascii_domain(address.domain)
    if domain is None or not 1 <= len(address.username) <= 64:
        raise ValidationError(f"is not one e-mail address; {_ADDRESS}")
    return Address(address.display_name, address.username, domain)


def _refuse_encoded_words(value: str) -> None:
    # The standard library decodes them when it parses a header and once more when it writes one;
    # what comes out may hold line breaks, and so write headers of its own.
    if "=?" in value:
        raise ValidationError(
            f'must not contain "=?": write the name as plain text, in any alphabet; {_ADDRESS}'
        )


def _ascii_domain(domain: str) -> str | None:
    """The domain as the DNS spells it, or None when it is none."""
    try:
        ascii_domain = domain if domain.isascii() else idna.encode(domain, uts46=True).decode()
    except idna.IDNAError:
        return None
    return ascii_domain if _DOMAIN.fullmatch(ascii_domain) and len(ascii_domain) < 254 else None


class OneAddress(fields.String):
    """Loads text into an Address."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        return parse_address(super()._deserialize(value, *args, **kwargs))


class Addresses(fields.Field):
    """Loads an address or a list of them into a list of Address."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> list[Address]:
        if isinstance(value, str):
            return [parse_address(value)]
        if not isinstance(value, list) or (self.required and not value):
            raise self.make_error("invalid")
        errors: dict[int, list[str]] = {}
        addresses: list[Address] = []
        for index, item in enumerate(value):
            try:
                addresses.append(_parse_item(item))
            except ValidationError as error:
                errors[index] = [str(message) for message in error.messages]
        if errors:
            raise ValidationError(errors)
        return addresses


def _parse_item(item: Any) -> Address:
    if not isinstance(item, str):
        raise ValidationError(f"is not text; {_ADDRESS}")
    return parse_address(item)


class SendEmailPayload(Schema):
    """``{"to": "ada@example.com", "subject": "Welcome", "body": "…"}``; ``to``, ``cc``, ``bcc`` may be lists."""

    to = Addresses(required=True, error_messages=messages(_ADDRESSES))
    cc = Addresses(load_default=list, error_messages=messages(_ADDRESSES))
    bcc = Addresses(load_default=list, error_messages=messages(_ADDRESSES))
    sender = OneAddress(data_key="from", load_default=None, error_messages=messages(_ADDRESS))
    reply_to = Addresses(data_key="replyTo", load_default=list, error_messages=messages(_ADDRESSES))
    subject = fields.String(
        required=True,
        error_messages=messages(_SUBJECT),
        validate=[
            validate.Length(1, MAX_SUBJECT_CHARACTERS, error=f"has a wrong length; {_SUBJECT}"),
            refuse_control_characters,
        ],
    )
    body = fields.String(load_default=None, error_messages=messages("give text, or leave it out"))
    html = fields.String(load_default=None, error_messages=messages("give HTML, or leave it out"))

    @validates_schema
    def check_recipients(self, data: dict[str, Any], **kwargs: Any) -> None:
        if sum(len(data.get(name, ())) for name in ("to", "cc", "bcc")) > MAX_RECIPIENTS:
            raise ValidationError(
                f"to, cc and bcc hold more than {MAX_RECIPIENTS} addresses; enqueue several jobs",
                "to",
            )


def recipients_of(payload: dict[str, Any]) -> list[str]:
    """Everyone the message goes to, blind copies included, each once."""
    everyone = [*payload["to"], *payload["cc"], *payload["bcc"]]
    return list(dict.fromkeys(address.addr_spec for address in everyone))


def build_message(payload: dict[str, Any], *, sender: Address, job_id: object) -> EmailMessage:
    """The message. Its Message-ID comes from the job's id: the same for every attempt, so that a
    mailbox or a person recognises a repeat. Blind copies are in the envelope only."""
    message = EmailMessage(policy=SMTP)
    message["From"] = sender
    message["To"] = payload["to"]
    if payload["cc"]:
        message["Cc"] = payload["cc"]
    if payload["reply_to"]:
        message["Reply-To"] = payload["reply_to"]
    message.set_raw("Subject", _encoded(payload["subject"]))
    message["Date"] = format_datetime(datetime.now(UTC))
    message["Message-ID"] = f"<{job_id}@{sender.domain}>"
    message["Auto-Submitted"] = "auto-generated"
    _add_content(message, payload["body"], payload["html"])
    return message


def _encoded(subject: str) -> str:
    """The subject as it stands on the wire. Assigned as it is, encoded words in it would be decoded."""
    is_plain = subject.isascii() and "=?" not in subject and len(subject) <= MAX_PLAIN_SUBJECT
    if is_plain:
        return subject
    return Header(subject, "utf-8", header_name="Subject").encode(linesep="\r\n")


def _add_content(message: EmailMessage, body: str | None, html: str | None) -> None:
    if html is None:
        message.set_content(body or "")
    elif body is None:
        message.set_content(html, subtype="html")
    else:
        message.set_content(body)
        message.add_alternative(html, subtype="html")
