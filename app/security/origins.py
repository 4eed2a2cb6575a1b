"""Where a request comes from: this machine, our own pages, a program, or a page of another site."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Request

_LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "[::1]", "::1")


def is_from_this_machine(request: Request) -> bool:
    """Whether both the sender's address and the Host header are local.

    The Host header counts because any site can point its own name at 127.0.0.1 (DNS rebinding).
    """
    host = request.host.rsplit(":", 1)[0] if not request.host.endswith("]") else request.host
    address = request.remote_addr or "127.0.0.1"
    is_loopback = address.startswith("127.") or address in ("::1", "::ffff:127.0.0.1")
    return is_loopback and host.lower() in _LOOPBACK_HOSTS


def is_cross_site(request: Request, allowed_origins: tuple[str, ...]) -> bool:
    """Whether a browser sent this request for a page that is neither ours nor of an allowed origin.

    Browsers add Sec-Fetch-Site (to HTTPS and local addresses) and Origin (to every change that another
    origin requests); a page can't remove them. Programs send neither.
    """
    origin = request.headers.get("Origin")
    if origin is not None and ("*" in allowed_origins or origin in allowed_origins):
        return False
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site not in ("same-origin", "none")
    return origin is not None and not _is_ours(origin, request)


def _is_ours(origin: str, request: Request) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme == request.scheme and parts.netloc.lower() == request.host.lower()
