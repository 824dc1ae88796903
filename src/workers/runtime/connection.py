"""Receive batches from the gateway over the worker's socket, and send the replies."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from workers.protocol import framing
from workers.protocol.messages import Failure, Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from workers.protocol.messages import LoadReport, WorkerReply, WorkerRequest

_MAX_SEND_PARTS = 512  # the kernel takes 1024 in one call


class WorkerConnection:
    """A blocking connection to the gateway, which the only thread of the worker uses."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def send(self, replies: Iterable[WorkerReply | LoadReport], seconds: float) -> None:
        """Send replies. Raises OSError if the gateway has ended."""
        parts = framing.encode_replies(_replace_oversized(list(replies)), seconds)
        if len(parts) > _MAX_SEND_PARTS:
            parts = [b"".join(parts)]
        size = sum(map(len, parts))
        sent = self._socket.sendmsg(parts)
        if sent < size:
            self._socket.sendall(memoryview(b"".join(parts))[sent:])

    def run(
        self, handler: Callable[[tuple[WorkerRequest, ...]], tuple[tuple[WorkerReply, ...], float]]
    ) -> None:
        """Pass batches to `handler` and send what it returns, until the gateway closes the connection.

        The socket is closed in any case, so that the gateway does not wait for replies for ever.
        """
        with self._socket, suppress(ConnectionError):  # the gateway ended: no more batches
            while (requests := self._receive_batch()) is not None:
                self.send(*handler(requests))

    def _receive_batch(self) -> tuple[WorkerRequest, ...] | None:
        header = self._receive_exactly(framing.HEADER.size)
        if header is None:
            return None
        count, size, _ = framing.HEADER.unpack(header)
        entries = self._receive_exactly(framing.entries_size(count, of_requests=True))
        bodies = self._receive_exactly(size)
        return None if entries is None or bodies is None else framing.decode_requests(entries, bodies)

    def _receive_exactly(self, size: int) -> bytes | None:
        """Return `size` bytes in one piece, copied once; None if the connection ends before."""
        if not size:
            return b""
        data = self._socket.recv(size, socket.MSG_WAITALL)
        while 0 < len(data) < size:  # a signal interrupted the call
            more = self._socket.recv(size - len(data), socket.MSG_WAITALL)
            data = data + more if more else b""
        return data or None


def _replace_oversized(replies: list[WorkerReply | LoadReport]) -> list[WorkerReply | LoadReport]:
    """Replace the largest replies by failures if the frame would be larger than the gateway accepts."""
    sizes = [len(reply.body) if type(reply) is Reply else 0 for reply in replies]
    if sum(sizes) <= framing.MAX_BYTES:
        return replies
    share = framing.MAX_BYTES // len(replies)
    failure = Failure("answer", f"The model's answer is larger than {share} bytes.")
    return [failure if size > share else reply for reply, size in zip(replies, sizes, strict=True)]
