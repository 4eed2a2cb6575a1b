"""Signatures of requests, as Standard Webhooks (https://www.standardwebhooks.com) defines them.

Receivers can verify them with an existing library:

    webhook-id: <the job's id; the same for every attempt, so that a repeat can be recognized>
    webhook-timestamp: <seconds since 1970>
    webhook-signature: v1,<base64 of HMAC-SHA256(secret, "<id>.<timestamp>.<body>")>

A secret that starts with ``whsec_`` is base64 after that prefix; of any other secret the UTF-8 bytes are the key.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time

_BASE64_PREFIX = "whsec_"


def secret_bytes(secret: str) -> bytes:
    """The HMAC key. Raises ValueError for a ``whsec_`` secret that is not base64."""
    if not secret.startswith(_BASE64_PREFIX):
        return secret.encode()
    key = base64.b64decode(secret.removeprefix(_BASE64_PREFIX), validate=True)
    if not key:
        raise ValueError("empty key")
    return key


def signature_headers(
    secret: str, message_id: str, body: bytes, timestamp: int | None = None
) -> dict[str, str]:
    """The three headers that sign ``body``. ``timestamp``: seconds since 1970, by default now."""
    sent_at = str(int(time.time()) if timestamp is None else timestamp)
    signed = b".".join((message_id.encode(), sent_at.encode(), body))
    digest = hmac.new(secret_bytes(secret), signed, hashlib.sha256).digest()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": sent_at,
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }
