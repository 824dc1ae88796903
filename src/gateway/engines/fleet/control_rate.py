"""A bound on what a node may have a gateway parse beside replies."""

from __future__ import annotations

from typing import Final

from gateway.engines.wire.fields import WireError

_BYTES_PER_SECOND: Final = 4 * 2**20  # twice what a node tells of long states
_BURST_BYTES: Final = 32 * 2**20
_BYTES_PER_MESSAGE: Final = 16 * 1024  # so that short ones are bounded too: 256 a second


class ControlRate:
    """A token bucket of bytes of control messages, which are parsed on the event loop."""

    def __init__(self, now: float) -> None:
        """`now` and all later times are in seconds of one steady clock."""
        self._left = float(_BURST_BYTES)
        self._at = now

    def take(self, size: int, now: float) -> None:
        """Take note of a message of `size` bytes. Raise WireError if the node sends too many."""
        self._left = min(_BURST_BYTES, self._left + (now - self._at) * _BYTES_PER_SECOND)
        self._at = now
        self._left -= max(size, _BYTES_PER_MESSAGE)
        if self._left < 0:
            raise WireError("more control messages than a node has reason to")
