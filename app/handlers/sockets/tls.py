"""The certificates that built-in handlers trust."""

from __future__ import annotations

import ssl
from functools import cache

import certifi


@cache
def tls_context() -> ssl.SSLContext:
    """A context that trusts the system's authorities (or ``SSL_CERT_FILE``) and those of certifi.

    Cached: reading the authorities takes about 20 ms.
    """
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context
