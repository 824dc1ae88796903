"""Opens links to the node of this machine, over a Unix socket."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from gateway.engines.transports.link_opening import open_lane
from gateway.engines.transports.link_transport import LinkTransport
from gateway.engines.transports.peer import is_same_user
from gateway.engines.wire.handshake import new_link
from gateway.engines.wire.messages import largest_message
from workers.protocol.bounds import MAX_ANSWER_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from gateway.engines.members import Member
    from gateway.engines.transports.message_stream import MessageStream
    from gateway.engines.transports.protocol import Receiver, Transport
    from gateway.engines.transports.unix_address import UnixAddress


class UnixConnector:
    """A connector that opens links to the node at one address of this machine."""

    def __init__(self, address: UnixAddress, *, max_answer_bytes: int = MAX_ANSWER_BYTES) -> None:
        """A node that sends a message that is larger than an answer may be loses its link."""
        self._address = address
        self._max_bytes = largest_message(max_answer_bytes)

    async def connect(self, member: Member, receiver: Receiver) -> Transport:
        """Return a transport to the only member. Raise LinkRefused, or another OSError."""
        del member
        address = self._address
        open_it = partial(open_lane, partial(_connect, address.path), link=new_link(), token=address.token)
        small = await open_it(lane="small")
        return LinkTransport(
            small, receiver, max_bytes=self._max_bytes, open_large=partial(open_it, lane="large")
        )


async def _connect(path: str, create: Callable[[], MessageStream]) -> tuple[Any, MessageStream]:
    transport, stream = await asyncio.get_running_loop().create_unix_connection(create, path)
    if not is_same_user(transport):
        stream.close()
        raise ConnectionError("the other end is another user's")
    return transport, stream
