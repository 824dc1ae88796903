"""Receive batches from the gateway over the worker's socket, and send the replies."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from workers.protocol import framing
from workers.protocol.bounds import MAX_ANSWER_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from workers.protocol.messages import LoadReport, WorkerReply, WorkerRequest

_MAX_SEND_PARTS = 512  # the kernel takes 1024 in one call
_MAX_JOINED_BYTES = 2**20  # to copy smaller frames is faster than to send them in parts


class WorkerConnection:
    """A blocking connection to the gateway, which the only thread of the worker uses."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._max_answer_bytes = MAX_ANSWER_BYTES
        self._inherited = False
        os.register_at_fork(after_in_child=self._leave_to_parent)

    def _leave_to_parent(self) -> None:
        """Close the copy of the socket in a process that the model has forked."""
        self._inherited = True
        self._socket.close()

    def send(self, replies: Iterable[WorkerReply | LoadReport], seconds: float) -> None:
        """Send replies. Raises OSError if the gateway has ended.

        A process that the model has forked ends here: its parent answers.
        """
        if self._inherited:
            os._exit(0)
        parts = framing.encode_replies(replies, seconds, self._max_answer_bytes)
        if len(parts) > _MAX_SEND_PARTS and sum(map(len, parts)) <= _MAX_JOINED_BYTES:
            parts = [b"".join(parts)]
        for start in range(0, len(parts), _MAX_SEND_PARTS):
            self._send_parts(parts[start : start + _MAX_SEND_PARTS])

    def _send_parts(self, parts: list[bytes]) -> None:
        """Send parts without copying them, since there may be no memory for a copy."""
        sent = self._socket.sendmsg(parts)
        if sent == sum(map(len, parts)):
            return
        for part in parts:
            if sent < len(part):
                self._socket.sendall(memoryview(part)[sent:])
            sent = max(0, sent - len(part))

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
        header = self._receive_exactly(framing.REQUEST_HEADER.size)
        if header is None:
            return None
        count, size, self._max_answer_bytes = framing.REQUEST_HEADER.unpack(header)
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
