"""The name under which an address' requests are counted."""

from __future__ import annotations

import ipaddress
from typing import Final

_IPV6_HOST_BITS: Final = 64  # a customer of a network has at least as many


def address_name(address: str) -> str:
    """Return the name of an IPv4 address, or of an IPv6 address' /64, whose owner may use all of it.

    An IPv4 address in IPv6 form is itself. What is no address, as that of a Unix socket, is one for all.
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    network = int(parsed) >> _IPV6_HOST_BITS << _IPV6_HOST_BITS
    return f"{ipaddress.IPv6Address(network)}/{_IPV6_HOST_BITS}"
