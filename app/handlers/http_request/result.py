"""The result of an ``http-request``: what is stored of the response."""

from __future__ import annotations

import base64
import html
import re
from typing import Any

from app.handlers.http_request.client import Response

#: The headers that are stored; cookies and the like are not.
STORED_HEADERS = (
    "content-type",
    "content-length",
    "content-encoding",
    "content-language",
    "date",
    "etag",
    "last-modified",
    "location",
    "retry-after",
    "server",
    "x-request-id",
)
MAX_HEADER_CHARACTERS = 1000
EXCERPT_CHARACTERS = 200
_PAGE = re.compile(r"\s*<(?:!doctype html|html)\b", re.IGNORECASE)
#: What a browser does not show.
_INVISIBLE = re.compile(
    r"<(script|style)\b.*?(?:</\1\s*>|\Z)|<!--.*?(?:-->|\Z)", re.IGNORECASE | re.DOTALL
)
#: Python has other "charsets" as well, some of which process escapes or decompress.
_CHARSET = re.compile(r"utf-8|us-ascii|ascii|iso-8859-\d\d?|windows-125\d", re.IGNORECASE)


def result_of(
    response: Response, *, url: str, redirects: int, elapsed_seconds: float
) -> dict[str, Any]:
    """The job's result. ``bodyEncoding`` is "text", or "base64" for a body that is not text."""
    text = as_text(response)
    return {
        "status": response.status,
        "url": url,
        "redirects": redirects,
        "headers": {
            name: response.headers[name][:MAX_HEADER_CHARACTERS]
            for name in STORED_HEADERS
            if name in response.headers
        },
        "body": base64.b64encode(response.body).decode() if text is None else text,
        "bodyEncoding": "base64" if text is None else "text",
        "bodyTruncated": response.is_cut,
        "elapsedMs": round(elapsed_seconds * 1000),
    }


def excerpt(response: Response) -> str:
    """The beginning of a textual body for an error message, after a colon; empty for other bodies."""
    words = " ".join(_readable(response).split())
    if len(words) > EXCERPT_CHARACTERS:
        words = f"{words[:EXCERPT_CHARACTERS]}…"
    return f": {words}" if words else ""


def _readable(response: Response) -> str:
    """The text of the body; for a web page its title, or else the text between its tags."""
    text = as_text(response) or ""
    if "html" not in response.headers.get("content-type", "") and not _PAGE.match(text):
        return text
    title = re.search(r"<title[^>]*>([^<]+)", text, re.IGNORECASE)
    return html.unescape(title[1] if title else re.sub(r"<[^>]*>", " ", _INVISIBLE.sub(" ", text)))


def as_text(response: Response) -> str | None:
    """The body as text that can be stored; None for any other body."""
    if "content-encoding" in response.headers:
        return None
    try:
        text = _decode(
            response.body, _charset(response.headers.get("content-type", "")), response.is_cut
        )
    except (UnicodeDecodeError, LookupError):
        return None
    return None if "\0" in text else text


def _decode(body: bytes, charset: str, is_cut: bool) -> str:
    try:
        return body.decode(charset)
    except UnicodeDecodeError as error:
        # The cut may have split a character.
        if is_cut and error.start >= len(body) - 3:
            return body[: error.start].decode(charset)
        raise


def _charset(content_type: str) -> str:
    match = re.search(r"charset=[\"']?([\w-]+)", content_type, re.IGNORECASE)
    name = match.group(1) if match else "utf-8"
    return name if _CHARSET.fullmatch(name) else "utf-8"
