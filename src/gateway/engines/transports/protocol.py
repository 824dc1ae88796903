"""What a transport of a link's messages offers its owner, and what it asks of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    Part = bytes | memoryview


class Transport(Protocol):
    """One end of a link. Whole messages travel in order, both ways, until one end closes.

    Messages of more than LARGE_MESSAGE_BYTES may travel beside the others, in an order of their own.
    """

    def send(self, message: Sequence[Part]) -> None:
        """Send the parts of one message, which are read before this returns or soon after; never block.

        Do nothing after `close`, or once the link is lost.
        """

    @property
    def unsent_bytes(self) -> int:
        """The bytes that were given to `send`, and not yet taken by the network."""

    def close(self) -> None:
        """End the link; do nothing if it has ended. The receiver's `on_lost` is called once, later."""


class Receiver(Protocol):
    """The owner of one end of a link. Its methods are called from the event loop, and return at once."""

    def on_message(self, message: bytes) -> None:
        """Take one whole message."""

    def on_lost(self, reason: str) -> None:
        """Take note that the link has ended; called once. `reason` is for operators."""


class LinkRefused(ConnectionError):
    """Node and gateway do not accept each other, which an operator must change; the text says why."""
