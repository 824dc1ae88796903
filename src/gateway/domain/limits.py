"""How much one principal may ask for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_RATE: Final = re.compile(r"(?P<count>[1-9][0-9]{0,8})/(?P<unit>s|min|h)")
_SECONDS: Final = {"s": 1, "min": 60, "h": 3600}


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `count` requests in each `seconds`, evenly spread."""

    count: int
    seconds: int

    def __str__(self) -> str:
        """Return the form that `parse_rate` reads."""
        unit = next(unit for unit, seconds in _SECONDS.items() if seconds == self.seconds)
        return f"{self.count}/{unit}"


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one principal, each None if it has none.

    `burst` requests may come at once before `rate` counts; by default those of one second, at least one.
    `concurrent` requests may be in progress at once. A body has at most `max_body_bytes` after decompression.
    """

    rate: Rate | None = None
    burst: int | None = None
    concurrent: int | None = None
    max_body_bytes: int | None = None

    @property
    def effective_burst(self) -> int:
        """`burst`, or its default."""
        if self.burst is not None or self.rate is None:
            return self.burst or 1
        return max(1, self.rate.count // self.rate.seconds)


def parse_rate(text: str) -> Rate:
    """Parse `50/s`, `600/min` or `1000/h`; raise ValueError for anything else."""
    match = _RATE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a rate such as 50/s, 600/min or 1000/h")
    return Rate(int(match["count"]), _SECONDS[match["unit"]])
