"""The worker's end of the socket to the gateway: batches in, answers out, until the gateway closes it."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from workers.protocol import framing
from workers.protocol.messages import Failure, Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from workers.protocol.messages import LoadReport, WorkerReply, WorkerRequest

_MAX_SEND_PARTS = 512  # of one call to the kernel, which takes 1024


class WorkerConnection:
    """Answers batch after batch, blocking in between; there is one thread, and it is the model's."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def send(self, replies: Iterable[WorkerReply | LoadReport], seconds: float) -> None:
        """Send answers. Raises OSError where the gateway is gone."""
        left = framing.encode_replies(_replace_oversized(list(replies)), seconds)
        if len(left) > _MAX_SEND_PARTS:
            left = [b"".join(left)]
        size = sum(map(len, left))
        sent = self._socket.sendmsg(left)
        if sent < size:
            self._socket.sendall(memoryview(b"".join(left))[sent:])

    def run(
        self, handler: Callable[[tuple[WorkerRequest, ...]], tuple[tuple[WorkerReply, ...], float]]
    ) -> None:
        """Answer batches until there are no more; however this ends, the gateway is not left waiting."""
        with self._socket, suppress(ConnectionError):  # where the gateway is gone, it has no more
            while (asks := self._receive_batch()) is not None:
                self.send(*handler(asks))

    def _receive_batch(self) -> tuple[WorkerRequest, ...] | None:
        head = self._receive_exactly(framing.HEADER.size)
        if head is None:
            return None
        count, size, _ = framing.HEADER.unpack(head)
        entries = self._receive_exactly(framing.entries_size(count, of_requests=True))
        bodies = self._receive_exactly(size)
        return None if entries is None or bodies is None else framing.decode_requests(entries, bodies)

    def _receive_exactly(self, size: int) -> bytes | None:
        """So many bytes, in one piece and copied once; None where the gateway has gone."""
        if not size:
            return b""
        data = self._socket.recv(size, socket.MSG_WAITALL)
        while 0 < len(data) < size:  # a signal came between
            more = self._socket.recv(size - len(data), socket.MSG_WAITALL)
            data = data + more if more else b""
        return data or None


def _replace_oversized(replies: list[WorkerReply | LoadReport]) -> list[WorkerReply | LoadReport]:
    """The answers, without such as would make the frame larger than the gateway takes."""
    sizes = [len(answer.body) if type(answer) is Reply else 0 for answer in replies]
    if sum(sizes) <= framing.MAX_BYTES:
        return replies
    share = framing.MAX_BYTES // len(replies)
    refused = Failure("answer", f"The model's answer has more than {share} bytes, which is too large here.")
    return [refused if size > share else answer for answer, size in zip(replies, sizes, strict=True)]
