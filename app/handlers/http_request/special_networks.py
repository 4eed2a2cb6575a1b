"""Networks that no public server is in: our own table, since the tables of Python's releases differ.

From the IANA registries of special-purpose IPv4 and IPv6 addresses, as of November 2026. Networks that the
registries call globally reachable but assign to a protocol (anycast relays, AS112) are included.
"""

from __future__ import annotations

import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_SPECIAL = {
    "an unspecified address": "0.0.0.0/32 ::/128",
    "a loopback address": "127.0.0.0/8 ::1/128",
    "a link-local address": "169.254.0.0/16 fe80::/10",
    "a metadata service": "168.63.129.16/32",  # Azure's, at a public address
    "a private address": (
        "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 100.64.0.0/10 fc00::/7 fec0::/10 64:ff9b:1::/48"
    ),
    "a multicast address": "224.0.0.0/4 ff00::/8",
    "a documentation address": (
        "192.0.2.0/24 198.51.100.0/24 203.0.113.0/24 2001:db8::/32 3fff::/20"
    ),
    "a 6to4 or Teredo address": "192.88.99.0/24 2002::/16 2001::/32",
    # Protocol assignments (including metadata services), AMT, AS112, benchmarks, ORCHID.
    "a special-purpose address": (
        "192.0.0.0/24 192.31.196.0/24 192.52.193.0/24 192.175.48.0/24 198.18.0.0/15 2001::/23 2620:4f:8000::/48"
    ),
    "a private or reserved address": "0.0.0.0/8 240.0.0.0/4",
}
#: In order: the first network that contains an address gives its kind.
SPECIAL: tuple[tuple[Network, str], ...] = tuple(
    (ipaddress.ip_network(network), kind)
    for kind, networks in _SPECIAL.items()
    for network in networks.split()
)
#: The only part of IPv6 from which public addresses are assigned.
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
#: IPv6 networks whose last 32 bits are an IPv4 address: mapped, translated (NAT64, SIIT), compatible.
_WITH_IPV4 = tuple(
    ipaddress.IPv6Network(network)
    for network in ("::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "::/96")
)
#: The 32 bits before an IPv4 address in an ISATAP interface identifier.
_ISATAP = (0x00005EFE, 0x02005EFE)


def special_kind(address: Address) -> str | None:
    """What is special about an address, such as "a loopback address"; None if it is public."""
    for network, kind in SPECIAL:
        if address in network:
            return kind
    if isinstance(address, ipaddress.IPv4Address):
        return None if address.is_global else "a private or reserved address"
    inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if any(address in network for network in _WITH_IPV4):
        return special_kind(inner)
    if address not in _GLOBAL_UNICAST or not address.is_global:
        return "a private or reserved address"
    # An ISATAP router sends the packet to the IPv4 address inside.
    return special_kind(inner) if (int(address) >> 32) & 0xFFFFFFFF in _ISATAP else None
