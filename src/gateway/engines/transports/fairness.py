"""Which connection goes if there are too many of those that have proven nothing yet."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")

MAX_UNPROVEN: Final = 256
"""Connections of one kind that have proven nothing yet."""


def first_to_end(hosts: Mapping[T, str]) -> T:
    """Return the oldest connection of the host that has the most; `hosts` has the oldest ones first."""
    busiest, _ = Counter(hosts.values()).most_common(1)[0]
    return next(connection for connection, host in hosts.items() if host == busiest)
