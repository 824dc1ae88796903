"""The gateway's end of a link over a Unix socket."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from gateway.engines.transports.unix_stream import UnixStream

if TYPE_CHECKING:
    from gateway.engines.members import Member
    from gateway.engines.transports.protocol import Receiver, Transport
    from gateway.engines.transports.unix_address import UnixAddress

_CONNECT_SECONDS: Final = 5.0


async def connect(address: UnixAddress, receiver: Receiver) -> Transport:
    """Connect to the node that listens there, and prove by the token that it may be asked.

    Raise OSError if nothing listens there. A token that is wrong, or another user there, ends the link.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            _, stream = await loop.create_unix_connection(lambda: UnixStream(receiver), address.path)
    except TimeoutError as error:
        raise ConnectionError(f"not connected within {_CONNECT_SECONDS:g} s") from error
    stream.send([address.token])
    return stream


class UnixConnector:
    """A connector that opens links to the node at one address of this machine."""

    def __init__(self, address: UnixAddress) -> None:
        self._address = address

    async def connect(self, member: Member, receiver: Receiver) -> Transport:
        """Return a transport to the only member. Raise OSError."""
        del member
        return await connect(self._address, receiver)

    async def close(self) -> None:
        """Do nothing: a closed link leaves nothing behind."""
