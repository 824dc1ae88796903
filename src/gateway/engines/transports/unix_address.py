"""Where a node of this machine listens, and the secret that it shares with the gateway processes."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """The path of a Unix socket, and the token that both ends prove to have."""

    path: str
    token: bytes = field(repr=False)
