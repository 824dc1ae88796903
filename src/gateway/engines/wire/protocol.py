"""Which protocol a gateway and a node speak, and how large a message may be before it takes another lane."""

from __future__ import annotations

import re
from typing import Final, Literal

OLDEST: Final = 1
NEWEST: Final = 1
"""A program speaks the protocol of its own version and the one before: machines are updated one by one."""

Lane = Literal["small", "large"]
"""The two connections of a link."""
LARGE_MESSAGE_BYTES: Final = 256 * 1024
"""A message of more bytes takes the large lane, so that no small one waits behind it."""

_RANGE: Final = re.compile(r"(\d{1,4})-(\d{1,4})", re.ASCII)


def spoken(oldest: int = OLDEST, newest: int = NEWEST) -> str:
    """Return the range of protocols, as programs tell it."""
    return f"{oldest}-{newest}"


def choose(theirs: str, oldest: int = OLDEST, newest: int = NEWEST) -> int | None:
    """Return the newest protocol that is in both ranges; None if there is none, or `theirs` is no range."""
    if (match := _RANGE.fullmatch(theirs)) is None:
        return None
    lowest, highest = max(oldest, int(match[1])), min(newest, int(match[2]))
    return highest if lowest <= highest else None
