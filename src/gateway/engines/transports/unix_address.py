"""Where a node of this machine listens, and how a gateway process proves that it may ask there."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """The path of a Unix socket, and the token that the first message must be."""

    path: str
    token: bytes = field(repr=False)
