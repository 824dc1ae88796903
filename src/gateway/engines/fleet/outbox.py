"""Gathers the requests of a few turns of the event loop into one message."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from gateway.engines.wire.messages import MAX_BATCH, encode_jobs
from gateway.engines.wire.protocol import LARGE_MESSAGE_BYTES
from workers.protocol.messages import Job, OpenStream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.engines.transports.protocol import Transport
    from workers.protocol.messages import WorkerRequest

_OVERHEAD_BYTES: Final = 64
"""What a request takes beside its body, at least."""
MAX_TURNS: Final = 4
"""The turns of the event loop that a batch may grow."""
LARGE_BODY_BYTES: Final = LARGE_MESSAGE_BYTES - 1024
"""A larger body is a message of its own, on the lane for such messages."""


class Outbox:
    """A batch of requests, which is sent after a turn of the event loop that brought no other: in one write.

    A turn without anything to do takes some microseconds, and a batch costs the node and the worker more than
    that.
    """

    def __init__(self, transport: Transport) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._jobs: list[tuple[int, int]] = []
        self._requests: list[WorkerRequest] = []
        self._size = 0
        self._last_size = 0  # the number of requests in the batch before
        self._closed = False

    def add(self, job_id: int, model: int, request: WorkerRequest) -> None:
        """Send a request for the model with that number, with others of these turns."""
        size = _OVERHEAD_BYTES + (len(request.body) if type(request) is Job else body_size(request))
        if size > LARGE_BODY_BYTES:
            self._transport.send(encode_jobs([(job_id, model)], [request]))
            return
        if self._size + size > LARGE_BODY_BYTES or len(self._jobs) == MAX_BATCH:
            self.flush()
        if not self._jobs:
            self._loop.call_soon(self._flush_when_gathered, 0, 1)
        self._jobs.append((job_id, model))
        self._requests.append(request)
        self._size += size

    def send(self, message: Sequence[bytes]) -> None:
        """Send another message after all that was added before."""
        self.flush()
        if not self._closed:
            self._transport.send(message)

    def _flush_when_gathered(self, before: int, turn: int) -> None:
        """Send the batch, unless it has grown in this turn.

        A request that comes alone, as the one before, is most likely of the only client.
        """
        size = len(self._jobs)
        if size > before and turn < MAX_TURNS and (size > 1 or self._last_size > 1):
            self._loop.call_soon(self._flush_when_gathered, size, turn + 1)
        else:
            self.flush()

    def flush(self) -> None:
        """Send what was gathered."""
        if not self._jobs:
            return
        jobs, requests = self._jobs, self._requests
        self._last_size = len(jobs)
        self._jobs, self._requests, self._size = [], [], 0
        if not self._closed:
            self._transport.send(encode_jobs(jobs, requests))

    def close(self) -> None:
        """Send nothing more, and end the link."""
        self._closed = True
        self._transport.close()


def body_size(request: WorkerRequest) -> int:
    """Return the bytes of the request's body."""
    if type(request) is Job:
        return len(request.body)
    return len(request.job.body) if type(request) is OpenStream else 0
