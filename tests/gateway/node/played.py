"""A transport that a test plays, and the engine's side of pins and loads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.engines.wire.messages import decode_from_node

if TYPE_CHECKING:
    from collections.abc import Sequence


class PlayedTransport:
    """A transport whose network takes nothing until the test says so."""

    def __init__(self) -> None:
        self.sent: list[object] = []
        self.unsent_bytes = 0
        self.closed = False

    def send(self, message: Sequence[bytes | memoryview]) -> None:
        """Keep a message, decoded, as unsent."""
        whole = b"".join(message)
        self.unsent_bytes += len(whole)
        self.sent.append(decode_from_node(whole))

    def close(self) -> None:
        """Note it."""
        self.closed = True
