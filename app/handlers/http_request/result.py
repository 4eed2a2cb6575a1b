"""What ``http-request`` keeps of an answer."""

from __future__ import annotations

import base64
import html
import re
from typing import Any

from app.handlers.http_request.client import Answer

#: The headers worth keeping; cookies and the like are not.
KEPT = (
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
#: Python knows stranger "charsets", some of which execute escapes or inflate.
_PAGE = re.compile(r"\s*<(?:!doctype html|html)\b", re.IGNORECASE)
#: What a browser would not show.
_UNSEEN = re.compile(
    r"<(script|style)\b.*?(?:</\1\s*>|\Z)|<!--.*?(?:-->|\Z)", re.IGNORECASE | re.DOTALL
)
_CHARSET = re.compile(r"utf-8|us-ascii|ascii|iso-8859-\d\d?|windows-125\d", re.IGNORECASE)


def result_of(
    answer: Answer, *, url: str, redirects: int, elapsed_seconds: float
) -> dict[str, Any]:
    """The job's result. ``bodyEncoding`` is text or base64 (for what is not text)."""
    text = as_text(answer)
    return {
        "status": answer.status,
        "url": url,
        "redirects": redirects,
        "headers": {
            name: answer.headers[name][:MAX_HEADER_CHARACTERS]
            for name in KEPT
            if name in answer.headers
        },
        "body": base64.b64encode(answer.body).decode() if text is None else text,
        "bodyEncoding": "base64" if text is None else "text",
        "bodyTruncated": answer.is_cut,
        "elapsedMs": round(elapsed_seconds * 1000),
    }


def excerpt(answer: Answer) -> str:
    """The beginning of a textual body for an error message, after a colon; else nothing."""
    words = " ".join(_readable(answer).split())
    if len(words) > EXCERPT_CHARACTERS:
        words = f"{words[:EXCERPT_CHARACTERS]}…"
    return f": {words}" if words else ""


def _readable(answer: Answer) -> str:
    """The text of the body; of a web page its title, else what stands between its tags."""
    text = as_text(answer) or ""
    if "html" not in answer.headers.get("content-type", "") and not _PAGE.match(text):
        return text
    title = re.search(r"<title[^>]*>([^<]+)", text, re.IGNORECASE)
    return html.unescape(title[1] if title else re.sub(r"<[^>]*>", " ", _UNSEEN.sub(" ", text)))


def as_text(answer: Answer) -> str | None:
    """The body as text that can be stored, or None for anything else."""
    if "content-encoding" in answer.headers:
        return None
    try:
        text = _decode(answer.body, _charset(answer.headers.get("content-type", "")), answer.is_cut)
    except (UnicodeDecodeError, LookupError):
        return None
    return None if "\0" in text else text


def _decode(body: bytes, charset: str, is_cut: bool) -> str:
    try:
        return body.decode(charset)
    except UnicodeDecodeError as error:
        # The cut may have gone through a character.
        if is_cut and error.start >= len(body) - 3:
            return body[: error.start].decode(charset)
        raise


def _charset(content_type: str) -> str:
    match = re.search(r"charset=[\"']?([\w-]+)", content_type, re.IGNORECASE)
    name = match.group(1) if match else "utf-8"
    return name if _CHARSET.fullmatch(name) else "utf-8"
