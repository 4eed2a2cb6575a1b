"""Checks the Host header before any address is built from it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from app.errors import InvalidHost
from app.security.refusals import refusal

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = re.compile(
    rf"(?=.{{1,259}}\Z)(?:{_LABEL}(?:\.{_LABEL})*\.?|\[[0-9A-Fa-f:.]{{2,45}}\])(?::(?P<port>[0-9]{{1,5}}))?"
)


def is_valid_host(host: str) -> bool:
    """Whether ``host`` is a host name or an address, with an optional port."""
    match = _HOST.fullmatch(host)
    return match is not None and int(match["port"] or 0) <= 65535


class HostCheck:
    """Refuses an invalid Host header: Flask can't build addresses from it, not even for an error page."""

    def __init__(self, wsgi_app: WSGIApplication) -> None:
        self._wsgi_app = wsgi_app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Any:
        host = environ.get("HTTP_HOST")
        if host is None or is_valid_host(host):
            return self._wsgi_app(environ, start_response)
        status, headers, body = refusal(InvalidHost(), environ.get("PATH_INFO", ""))
        start_response(f"{status} Bad Request", headers)
        return [] if environ.get("REQUEST_METHOD") == "HEAD" else [body]
