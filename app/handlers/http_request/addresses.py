"""Which addresses an ``http-request`` may connect to.

A job's URL comes from outside, and the worker stands inside: without this guard it would fetch the cloud's
metadata service or the database's admin port for whoever may enqueue. Names are resolved once, every address
is judged, and the connection goes to an address judged: a name that answers differently the second time
(DNS rebinding) gains nothing.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from typing import Any

from app.handlers.http_request.special_networks import Address, kind_of
from app.jobs.context import Context
from app.jobs.control_flow import Permanent

LOOKUP_POLL_SECONDS = 0.25


class LookupFailed(Exception):
    """A host name has no address now; maybe later."""


def allowed_addresses(
    host: str, port: int, *, is_private_allowed: bool, ctx: Context, ends_at: float
) -> list[str]:
    """The addresses of ``host``, in the resolver's order, each fit to connect to.

    Raises Permanent when any of them is not public, LookupFailed when there is none by ``ends_at``.
    """
    addresses = _addresses(host, port, ctx, ends_at)
    if not is_private_allowed:
        for address in addresses:
            if why := kind_of(address):
                is_name = host != str(address)
                found = f"{host} is {address}, {why}" if is_name else f"{host} is {why}"
                raise Permanent(
                    f"{found}; http-request calls public addresses only "
                    "(the operator can set HTTP_ALLOW_PRIVATE=1)"
                )
    return [str(address) for address in addresses]


def _addresses(host: str, port: int, ctx: Context, ends_at: float) -> list[Address]:
    try:
        return [ipaddress.ip_address(host)]
    except ValueError:
        pass  # a name, or a number in an odd spelling (0x7f000001), which the resolver understands
    found: list[Address] = []
    for entry in _look_up(host, port, ctx, ends_at):
        address = ipaddress.ip_address(str(entry[4][0]).partition("%")[0])
        if address not in found:
            found.append(address)
    return found


def _look_up(host: str, port: int, ctx: Context, ends_at: float) -> list[tuple[Any, ...]]:
    """getaddrinfo knows no time limit, so it runs in a thread that may be left behind (it ends by itself)."""
    entries: list[tuple[Any, ...]] = []
    errors: list[Exception] = []

    def look_up() -> None:
        try:
            entries.extend(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    while thread.is_alive() and (left := ends_at - time.monotonic()) > 0:
        ctx.raise_if_cancelled()
        thread.join(min(left, LOOKUP_POLL_SECONDS))
    if errors and isinstance(errors[0], UnicodeError):
        raise Permanent(f"{host!r} is not a host name")
    if errors:
        raise LookupFailed(f"{host} can't be resolved: {errors[0]}")
    if not entries:
        raise LookupFailed(f"{host} can't be resolved in time")
    return entries
