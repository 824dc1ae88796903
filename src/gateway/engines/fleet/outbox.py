"""Gathers the requests of one turn of the event loop into one message."""

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
LARGE_BODY_BYTES: Final = LARGE_MESSAGE_BYTES - 1024
"""A larger body is a message of its own, on the lane for such messages."""


class Outbox:
    """A batch of requests, which is sent at the end of the event loop's turn: one write for all of them."""

    def __init__(self, transport: Transport) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._jobs: list[tuple[int, int]] = []
        self._requests: list[WorkerRequest] = []
        self._size = 0
        self._closed = False

    def add(self, job_id: int, model: int, request: WorkerRequest) -> None:
        """Send a request for the model with that number, with others of this turn."""
        size = _OVERHEAD_BYTES + (len(request.body) if type(request) is Job else body_size(request))
        if size > LARGE_BODY_BYTES:
            self._transport.send(encode_jobs([(job_id, model)], [request]))
            return
        if self._size + size > LARGE_BODY_BYTES or len(self._jobs) == MAX_BATCH:
            self.flush()
        if not self._jobs:
            self._loop.call_soon(self.flush)
        self._jobs.append((job_id, model))
        self._requests.append(request)
        self._size += size

    def send(self, message: Sequence[bytes]) -> None:
        """Send another message after all that was added before."""
        self.flush()
        if not self._closed:
            self._transport.send(message)

    def flush(self) -> None:
        """Send what was gathered."""
        if not self._jobs:
            return
        jobs, requests = self._jobs, self._requests
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
