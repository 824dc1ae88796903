"""Which protocol a gateway and a node speak, and the metadata by which a link says so at its start."""

from __future__ import annotations

import re
from typing import Final

OLDEST: Final = 1
NEWEST: Final = 1
"""A program speaks the protocol of its own version and the one before: machines are updated one by one."""

PROTOCOL_KEY: Final = "x-protocol"
"""The protocols that a program speaks: "1-2"."""
GATEWAY_KEY: Final = "x-gateway"
"""The name of the gateway process."""
LINK_KEY: Final = "x-link"
"""An id, drawn by the gateway, that both lanes of a link have in common."""
LANE_KEY: Final = "x-lane"
AUTHORIZATION_KEY: Final = "authorization"

SMALL_LANE: Final = "small"
LARGE_LANE: Final = "large"
LARGE_MESSAGE_BYTES: Final = 256 * 1024
"""A message of more bytes takes the large lane, so that no small one waits behind it."""

SERVICE: Final = "gateway.Node"
METHOD: Final = "Link"

_RANGE: Final = re.compile(r"(\d{1,4})-(\d{1,4})", re.ASCII)


def spoken(oldest: int = OLDEST, newest: int = NEWEST) -> str:
    """Return the range of protocols for the metadata."""
    return f"{oldest}-{newest}"


def choose(theirs: str, oldest: int = OLDEST, newest: int = NEWEST) -> int | None:
    """Return the newest protocol that is in both ranges; None if there is none, or `theirs` is no range."""
    if (match := _RANGE.fullmatch(theirs)) is None:
        return None
    lowest, highest = max(oldest, int(match[1])), min(newest, int(match[2]))
    return highest if lowest <= highest else None
