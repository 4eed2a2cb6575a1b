"""The payload of ``send-email``, and the message built from it."""

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
#: Fits on the line of the header's name; a longer subject is encoded, so that it can be folded anywhere.
MAX_PLAIN_SUBJECT = 69
_ADDRESS = "use an address such as ada@example.com or Ada Lovelace <ada@example.com>"
_ADDRESSES = "use an address such as ada@example.com, or a list of addresses"
_SUBJECT = f"use a single line of 1 to {MAX_SUBJECT_CHARACTERS} characters"
_NOT_AN_ADDRESS = f"is not a single email address; {_ADDRESS}"
_DOMAIN = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?:\.(?!-)[A-Za-z0-9-]{1,63})*", re.ASCII)


def parse_address(value: str) -> Address:
    """One address, with or without a name in plain text. Raises ValidationError."""
    refuse_control_characters(value)
    _refuse_encoded_words(value)
    try:
        header = SMTP.header_factory("To", value)
    except Exception:  # the standard parser fails on some malformed addresses: IndexError for "x@"
        raise ValidationError(_NOT_AN_ADDRESS) from None
    addresses = cast("tuple[Address, ...]", header.addresses)
    is_group = ":" in value.partition("<")[0]
    if header.defects or is_group or len(addresses) != 1 or not addresses[0].domain:
        raise ValidationError(_NOT_AN_ADDRESS)
    address = addresses[0]
    # Again, after the parser has removed quotes and backslashes.
    _refuse_encoded_words(str(address.display_name) + address.username)
    domain = _ascii_domain(address.domain)
    if domain is None or not 1 <= len(address.username) <= 64:
        raise ValidationError(_NOT_AN_ADDRESS)
    return Address(address.display_name, address.username, domain)


def _refuse_encoded_words(value: str) -> None:
    # The standard library decodes them when it parses a header and again when it writes one;
    # the decoded text may contain line breaks, and so add headers.
    if "=?" in value:
        raise ValidationError(
            f'must not contain "=?": write the name as plain text, in any alphabet; {_ADDRESS}'
        )


def _ascii_domain(domain: str) -> str | None:
    """The domain in ASCII, as in the DNS; None if it is not valid."""
    try:
        ascii_domain = domain if domain.isascii() else idna.encode(domain, uts46=True).decode()
    except idna.IDNAError:
        return None
    return ascii_domain if _DOMAIN.fullmatch(ascii_domain) and len(ascii_domain) < 254 else None


class AddressField(fields.String):
    """Loads a string into an Address."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        return parse_address(super()._deserialize(value, *args, **kwargs))


class AddressListField(fields.Field):
    """Loads an address or a list of addresses into a list of Address."""

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
        raise ValidationError(f"is not a string; {_ADDRESS}")
    return parse_address(item)


class SendEmailPayload(Schema):
    """``{"to": "ada@example.com", "subject": "Welcome", "body": "…"}``; ``to``, ``cc``, ``bcc`` may be lists."""

    to = AddressListField(required=True, error_messages=messages(_ADDRESSES))
    cc = AddressListField(load_default=list, error_messages=messages(_ADDRESSES))
    bcc = AddressListField(load_default=list, error_messages=messages(_ADDRESSES))
    sender = AddressField(data_key="from", load_default=None, error_messages=messages(_ADDRESS))
    reply_to = AddressListField(
        data_key="replyTo", load_default=list, error_messages=messages(_ADDRESSES)
    )
    subject = fields.String(
        required=True,
        error_messages=messages(_SUBJECT),
        validate=[
            validate.Length(1, MAX_SUBJECT_CHARACTERS, error=f"has the wrong length; {_SUBJECT}"),
            refuse_control_characters,
        ],
    )
    body = fields.String(load_default=None, error_messages=messages("use a string, or omit it"))
    html = fields.String(load_default=None, error_messages=messages("use HTML, or omit it"))

    @validates_schema
    def check_recipients(self, data: dict[str, Any], **kwargs: Any) -> None:
        if sum(len(data.get(name, ())) for name in ("to", "cc", "bcc")) > MAX_RECIPIENTS:
            raise ValidationError(
                f"to, cc and bcc have more than {MAX_RECIPIENTS} addresses; enqueue several jobs",
                "to",
            )


def recipients_of(payload: dict[str, Any]) -> list[str]:
    """All addresses that the message goes to, including bcc, without duplicates."""
    addresses = [*payload["to"], *payload["cc"], *payload["bcc"]]
    return list(dict.fromkeys(address.addr_spec for address in addresses))


def build_message(payload: dict[str, Any], *, sender: Address, job_id: object) -> EmailMessage:
    """The message. Recipients in bcc are in the envelope only.

    The Message-ID is built from the job's id and is the same for every attempt, so that mail programs can
    recognize duplicates.
    """
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
    """The subject as it is sent. The message's own encoding would decode encoded words in the subject."""
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
