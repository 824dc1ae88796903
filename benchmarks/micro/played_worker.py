"""A worker that costs no more than its frames do, for what is measured in front of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from workers.limits import PoolLimits
from workers.metrics import Counters
from workers.protocol import framing
from workers.protocol.messages import ModelKey, Reply, RowBatching
from workers.scheduler.dispatcher import Dispatcher
from workers.scheduler.worker_slot import WorkerSlot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workers.process.channel import ReplyCallback
    from workers.protocol.messages import WorkerRequest

KEY = ModelKey("m", "1", "f")
REPLY = Reply(b"[1.2345678901234567]", 0.001)


class FramingWorker:
    """A worker that encodes requests and decodes replies as a real one, and computes nothing."""

    connected = True
    pid = 1

    def send_batch(self, requests: Sequence[WorkerRequest], on_reply: ReplyCallback) -> None:
        """Answer each request with the same reply, in the next iteration of the loop."""
        b"".join(framing.encode_requests(requests))
        asyncio.get_running_loop().call_soon(self._answer, len(requests), on_reply)

    def _answer(self, count: int, on_reply: ReplyCallback) -> None:
        entries, bodies = reply_frame(count)
        on_reply((framing.decode_replies(entries, bodies), 0.00001 * count))


def reply_frame(count: int, frames: dict[int, tuple[bytes, bytes]] = {}) -> tuple[bytes, bytes]:  # noqa: B006 - a memory
    """Return the entries and the bodies of the frame of that many replies."""
    if count not in frames:
        frame = b"".join(framing.encode_replies([REPLY] * count, 0.0))
        start = framing.HEADER.size
        end = start + framing.entries_size(count, of_requests=False)
        frames[count] = frame[start:end], frame[end:]
    return frames[count]


def open_dispatcher() -> Dispatcher:
    """Return a dispatcher with one such worker; called while the loop runs."""
    dispatcher = Dispatcher(
        KEY,
        PoolLimits(),
        on_worker_exit=lambda _: None,
        on_timeout=lambda _: None,
        on_idle=lambda: None,
        counters=Counters(),
    )
    dispatcher.add(WorkerSlot(cast("Any", FramingWorker()), 0.0), RowBatching(True, ""))
    return dispatcher
