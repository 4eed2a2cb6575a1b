"""Translates a request from RSGI to WSGI."""

from __future__ import annotations

import sys
from io import BytesIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from granian.rsgi import Scope

_ALWAYS = {
    "SCRIPT_NAME": "",
    "SERVER_SOFTWARE": "granian",
    "wsgi.version": (1, 0),
    "wsgi.errors": sys.stderr,
    "wsgi.multithread": True,
    "wsgi.multiprocess": True,
    "wsgi.run_once": False,
    "wsgi.input_terminated": True,
}
#: Header → key; a cache with a limit, since clients choose the names.
_KEYS = {"content-type": "CONTENT_TYPE", "content-length": "CONTENT_LENGTH"}
_MAX_KEYS = 1000


def make_environ(scope: Scope) -> dict[str, Any]:
    """The environ of a request without its body."""
    host, _, port = scope.server.rpartition(":")
    environ: dict[str, Any] = {
        **_ALWAYS,
        "REQUEST_METHOD": scope.method,
        # WSGI text: the bytes of UTF-8, decoded as Latin-1.
        "PATH_INFO": scope.path.encode().decode("latin-1"),
        "QUERY_STRING": scope.query_string.encode().decode("latin-1"),
        "SERVER_NAME": host.strip("[]"),
        "SERVER_PORT": port,
        "SERVER_PROTOCOL": f"HTTP/{scope.http_version}",
        "REMOTE_ADDR": scope.client.rpartition(":")[0].strip("[]"),
        "wsgi.url_scheme": scope.scheme,
        "wsgi.input": BytesIO(b""),
    }
    headers = scope.headers
    names = 0
    for name, value in headers.items():
        # X_Forwarded_For would get the same key as X-Forwarded-For.
        if "_" in name:
            continue
        key = _KEYS.get(name) or _key(name)
        if key in environ:
            environ[key] += ("; " if name == "cookie" else ",") + value
        else:
            environ[key] = value
            names += 1
    if names < len(keys := headers.keys()):
        _add_unreadable(environ, keys)
    if "HTTP_HOST" not in environ and scope.authority:
        environ["HTTP_HOST"] = scope.authority
    return environ


def _add_unreadable(environ: dict[str, Any], names: list[str]) -> None:
    # granian leaves out values that are not ASCII. They are added as empty ones, which are refused where it matters.
    for name in names:
        if "_" not in name:
            environ.setdefault(_KEYS.get(name) or _key(name), "")


def _key(name: str) -> str:
    key = f"HTTP_{name.replace('-', '_').upper()}"
    if len(_KEYS) < _MAX_KEYS and len(name) <= 64:
        _KEYS[name] = key
    return key
