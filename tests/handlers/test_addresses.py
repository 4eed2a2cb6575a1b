"""The addresses that http-request may connect to, by our own table and not by that of the Python release."""

from __future__ import annotations

import ipaddress
import time

import pytest

from app.handlers.http_request.addresses import allowed_addresses
from app.handlers.http_request.special_networks import special_kind
from app.jobs.control_flow import Permanent
from app.jobs.testing import make_context

FORBIDDEN = [
    # This network, private, shared, loopback, link-local
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254",
    "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.168.1.1",
    # Protocol assignments (Oracle's metadata among them), documentation, AMT, AS112, 6to4 relays, benchmarks
    "192.0.0.1", "192.0.0.8", "192.0.0.9", "192.0.0.192", "192.0.2.1", "192.31.196.1", "192.52.193.1",
    "192.88.99.1", "192.175.48.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1",
    # Multicast, reserved, broadcast, a metadata service behind a public number
    "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "168.63.129.16",
    # IPv6: itself, private, link-local, site-local, multicast, discard, documentation, not assigned
    "::", "::1", "fc00::1", "fd00:ec2::254", "fd20:ce::254", "fe80::1", "fec0::1", "ff02::1", "100::1",
    "2001:db8::1", "3fff::1", "3fff:fff::1", "4000::1", "5f00::1", "1::1", "e000::1",
    # Protocol assignments, benchmarks, ORCHID, AS112
    "2001:1::1", "2001:2::1", "2001:10::1", "2001:20::1", "2001:1ff::1", "2620:4f:8000::1",
    # Tunnels and translations of something private
    "::ffff:10.0.0.1", "::ffff:0:10.0.0.1", "::10.0.0.1", "::127.0.0.1", "64:ff9b::10.0.0.1",
    "64:ff9b::169.254.169.254", "64:ff9b:1::10.0.0.1", "64:ff9b:1::8.8.8.8", "64:ff9b:1:ffff::8.8.8.8",
    "2002:7f00:1::1", "2002:a00:1::1", "2002:a9fe:a9fe::1", "2001:0:4136:e378:8000:63bf:f5ff:fffe",
    "2001:0:a00:1::1", "2606:4700::5efe:10.0.0.1", "2606:4700::200:5efe:169.254.169.254",
    # Tunnels of something public: nobody reaches a public server so, and relays are anybody's
    "2002:808:808::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2",
]  # fmt: skip
PUBLIC = [
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "128.0.0.1",
    "172.15.255.255", "172.32.0.0", "192.0.1.1", "192.88.98.1", "192.88.100.1", "198.17.255.255",
    "198.20.0.0", "223.255.255.255", "168.63.129.17",
    "2606:4700:4700::1111", "2001:4860:4860::8888", "2001:200::1", "2a00:1450:4001:830::200e",
    "3ffe::1", "2003::1", "2620:4f:8001::1",
    "::ffff:8.8.8.8", "64:ff9b::8.8.8.8",
]  # fmt: skip


@pytest.mark.parametrize("address", FORBIDDEN)
def test_addresses_that_are_not_public_are_refused(address: str) -> None:
    assert special_kind(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_allowed(address: str) -> None:
    assert special_kind(ipaddress.ip_address(address)) is None


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("64:ff9b::7f00:1", "loopback"),
        ("169.254.169.254", "link-local"),
        ("10.1.2.3", "private"),
        ("192.0.0.192", "special-purpose"),
        ("2002:808:808::1", "6to4"),
        ("3fff::1", "documentation"),
    ],
)
def test_the_error_names_the_kind_of_address(address: str, reason: str) -> None:
    assert reason in (special_kind(ipaddress.ip_address(address)) or "")


def test_the_table_covers_everything_that_python_calls_special() -> None:
    """Each network that this Python calls special begins and ends forbidden."""
    constants = [ipaddress._IPv4Constants, ipaddress._IPv6Constants]  # type: ignore[attr-defined]
    for constant in constants:
        for network in constant._private_networks:
            if network == ipaddress.ip_network("::ffff:0:0/96"):
                continue  # judged by the IPv4 address inside
            assert special_kind(network[0])
            assert special_kind(network[-1])


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("127.0.0.1", "127.0.0.1 is a loopback address; "),
        ("localhost", "localhost is 127.0.0.1, a loopback address; "),
    ],
)
def test_the_error_is_a_sentence(host: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(None, None, None, "", ("127.0.0.1", 80))]
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: found)
    with pytest.raises(Permanent) as refused:
        allowed_addresses(
            host, 80, is_private_allowed=False, ctx=make_context(), ends_at=time.monotonic() + 5
        )
    assert str(refused.value).startswith(said)
