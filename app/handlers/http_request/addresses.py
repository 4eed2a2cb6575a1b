"""Which addresses an ``http-request`` may connect to.

A job's URL comes from outside the network and the worker runs inside it: without this check, anyone who can enqueue
could fetch the cloud's metadata service or the database's admin port. A name is resolved once, all of its addresses
are checked, and the connection goes to a checked address, so a name that resolves differently the second time (DNS
rebinding) has no effect.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from typing import Any

from app.handlers.http_request.special_networks import Address, special_kind
from app.jobs.context import Context
from app.jobs.control_flow import Permanent

LOOKUP_POLL_SECONDS = 0.25


class LookupFailed(Exception):
    """A host name has no address at the moment; another attempt may find one."""


def allowed_addresses(
    host: str, port: int, *, is_private_allowed: bool, ctx: Context, ends_at: float
) -> list[str]:
    """The addresses of ``host`` in the resolver's order, all of them allowed.

    Raises Permanent if any of them is not public, LookupFailed if there is none by ``ends_at`` (monotonic).
    """
    addresses = _addresses(host, port, ctx, ends_at)
    if not is_private_allowed:
        for address in addresses:
            if kind := special_kind(address):
                is_name = host != str(address)
                reason = f"{host} is {address}, {kind}" if is_name else f"{host} is {kind}"
                raise Permanent(
                    f"{reason}; http-request calls public addresses only "
                    "(the operator can set HTTP_ALLOW_PRIVATE=1)"
                )
    return [str(address) for address in addresses]


def _addresses(host: str, port: int, ctx: Context, ends_at: float) -> list[Address]:
    try:
        return [ipaddress.ip_address(host)]
    except ValueError:
        pass  # a name, or a number in an unusual notation (0x7f000001), which the resolver understands
    addresses: list[Address] = []
    for entry in _look_up(host, port, ctx, ends_at):
        address = ipaddress.ip_address(str(entry[4][0]).partition("%")[0])
        if address not in addresses:
            addresses.append(address)
    return addresses


def _look_up(host: str, port: int, ctx: Context, ends_at: float) -> list[tuple[Any, ...]]:
    """The entries of getaddrinfo, which has no time limit: it runs in a thread, which is left to end by itself."""
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
