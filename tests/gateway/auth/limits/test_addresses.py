"""Proves whose requests count together where the address is all that is known."""

from __future__ import annotations

import pytest

from gateway.auth.limits.addresses import address_name


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64"),
        ("2001:DB8:0001:0002::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("", "unknown"),
        ("unix:", "unknown"),
        ("192.0.2.07", "unknown"),
    ],
)
def test_the_name_of_an_address(address: str, name: str) -> None:
    """An IPv6 network of one customer is one; other spellings of an address are the same one."""
    assert address_name(address) == name
