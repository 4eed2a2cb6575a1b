"""The payload of ``http-request``."""

from __future__ import annotations

import binascii
import re
from typing import Any

from marshmallow import Schema, ValidationError, fields, post_load, validate, validates

from app.handlers.http_request.client import BadUrl, parse
from app.handlers.http_request.signature import secret_bytes
from app.handlers.payload_fields import Number, messages, refuse_control_characters

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
MAX_URL_CHARACTERS = 8192
MAX_HEADERS = 50
MAX_HEADER_CHARACTERS = 8192
MAX_TIMEOUT_SECONDS = 3600

#: Headers that only the client may set, with the reason: otherwise a request could be smuggled or sent elsewhere.
RESERVED_HEADERS = {
    "host": "it is taken from the URL",
    "content-length": "it is computed from the body",
    "transfer-encoding": "the body is sent with its length",
    "connection": "each connection is used for a single request",
    "expect": "the body is sent immediately",
    "upgrade": "the response is plain HTTP",
    "te": "the response is plain HTTP",
    "trailer": "the body is sent with its length",
}
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,200}")
_METHOD = f"use one of {', '.join(METHODS)}, or omit it for GET"
_URL = "use a URL such as https://example.com/hook"
_HEADERS = 'use an object of strings, such as {"Accept": "application/json"}'
_TIMEOUT = f"use a number of seconds from 0.1 to {MAX_TIMEOUT_SECONDS}, or omit it for 30"
_SECRET = "use a string of 1 to 1000 characters, or omit it to send the request unsigned"


class HttpRequestPayload(Schema):
    """``{"url": "https://…", "method": "POST", "headers": {…}, "body": …, "timeout": 30, "secret": "…"}``

    A ``body`` that is a string is sent as it is, any other one as JSON. ``timeout`` limits the whole attempt.
    """

    method = fields.String(load_default="GET", error_messages=messages(_METHOD))
    url = fields.String(required=True, error_messages=messages(_URL))
    headers = fields.Dict(
        keys=fields.String(error_messages=messages(_HEADERS)),
        values=fields.String(error_messages=messages(_HEADERS)),
        load_default=dict,
        error_messages=messages(_HEADERS),
        validate=validate.Length(max=MAX_HEADERS, error=f"has more than {MAX_HEADERS} headers"),
    )
    body = fields.Raw(load_default=None, allow_none=True)
    timeout = Number(
        load_default=30.0,
        error_messages=messages(_TIMEOUT),
        validate=validate.Range(0.1, MAX_TIMEOUT_SECONDS, error=f"is out of range; {_TIMEOUT}"),
    )
    secret = fields.String(load_default=None, error_messages=messages(_SECRET))

    @validates("method")
    def check_method(self, value: str, data_key: str) -> None:
        if value.upper() not in METHODS:
            raise ValidationError(f"is not a supported method; {_METHOD}")

    @validates("url")
    def check_url(self, value: str, data_key: str) -> None:
        if len(value) > MAX_URL_CHARACTERS:
            raise ValidationError(f"is longer than {MAX_URL_CHARACTERS} characters; {_URL}")
        try:
            parse(value)
        except BadUrl as error:
            raise ValidationError(str(error)) from None

    @validates("headers")
    def check_headers(self, value: dict[str, str], data_key: str) -> None:
        errors: dict[str, list[str]] = {}
        seen: set[str] = set()
        for name, text in value.items():
            try:
                _check_header(name, text, seen)
            except ValidationError as error:
                errors[name] = [str(message) for message in error.messages]
            seen.add(name.lower())
        if errors:
            raise ValidationError(errors)

    @validates("secret")
    def check_secret(self, value: str | None, data_key: str) -> None:
        if value is None:
            return
        if not 1 <= len(value) <= 1000:
            raise ValidationError(f"has the wrong length; {_SECRET}")
        try:
            secret_bytes(value)
        except (ValueError, binascii.Error):
            raise ValidationError("starts with whsec_, but the rest is not base64") from None

    @post_load
    def normalize(self, data: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return {**data, "method": data["method"].upper()}


def _check_header(name: str, text: str, seen: set[str]) -> None:
    if not _TOKEN.fullmatch(name):
        raise ValidationError("is not a valid header name; use letters, digits and hyphens")
    if name.lower() in RESERVED_HEADERS:
        raise ValidationError(f"can't be set: {RESERVED_HEADERS[name.lower()]}; omit it")
    if name.lower() in seen:
        raise ValidationError("is a duplicate; header names are case-insensitive")
    if len(text) > MAX_HEADER_CHARACTERS:
        raise ValidationError(f"is longer than {MAX_HEADER_CHARACTERS} characters")
    refuse_control_characters(text.replace("\t", " "))
    if not _is_latin1(text):
        raise ValidationError("contains characters that headers can't; percent-encode them")


def _is_latin1(text: str) -> bool:
    return all(ord(character) < 256 for character in text)
