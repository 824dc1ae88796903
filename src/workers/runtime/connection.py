"""The worker's end of the socket to the gateway: batches in, answers out, until the gateway closes it."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from workers.protocol import framing
from workers.protocol.messages import Failure, Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from workers.protocol.messages import Answer, Ask, Loaded

_MOST_PARTS = 512  # of one call to the kernel, which takes 1024


class Service:
    """Answers batch after batch, blocking in between; there is one thread, and it is the model's."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def send(self, answers: Iterable[Answer | Loaded], seconds: float) -> None:
        """Send answers. Raises OSError where the gateway is gone."""
        left = framing.replies(_taken(list(answers)), seconds)
        if len(left) > _MOST_PARTS:
            left = [b"".join(left)]
        size = sum(map(len, left))
        sent = self._end.sendmsg(left)
        if sent < size:
            self._end.sendall(memoryview(b"".join(left))[sent:])

    def run(self, answer: Callable[[tuple[Ask, ...]], tuple[tuple[Answer, ...], float]]) -> None:
        """Answer batches until there are no more; however this ends, the gateway is not left waiting."""
        with self._end, suppress(ConnectionError):  # where the gateway is gone, it has no more
            while (asks := self._received()) is not None:
                self.send(*answer(asks))

    def _received(self) -> tuple[Ask, ...] | None:
        head = self._exactly(framing.HEAD.size)
        if head is None:
            return None
        count, size, _ = framing.HEAD.unpack(head)
        entries = self._exactly(framing.entries_size(count, of_asks=True))
        bodies = self._exactly(size)
        return None if entries is None or bodies is None else framing.asks(entries, bodies)

    def _exactly(self, size: int) -> bytes | None:
        """So many bytes, in one piece and copied once; None where the gateway has gone."""
        if not size:
            return b""
        data = self._end.recv(size, socket.MSG_WAITALL)
        while 0 < len(data) < size:  # a signal came between
            more = self._end.recv(size - len(data), socket.MSG_WAITALL)
            data = data + more if more else b""
        return data or None


def _taken(answers: list[Answer | Loaded]) -> list[Answer | Loaded]:
    """The answers, without such as would make the frame larger than the gateway takes."""
    sizes = [len(answer.body) if type(answer) is Reply else 0 for answer in answers]
    if sum(sizes) <= framing.MOST_BYTES:
        return answers
    share = framing.MOST_BYTES // len(answers)
    refused = Failure("answer", f"The model's answer has more than {share} bytes, which is too large here.")
    return [refused if size > share else answer for answer, size in zip(answers, sizes, strict=True)]
