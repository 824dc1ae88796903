"""Pass TCP connections on to other containers, so that these need no network with a way out.

usage: proxy.py ADDRESS:PORT=HOST:PORT...          where to listen, and where the connections go
"""

import asyncio
import signal
import socket
import sys
from typing import cast


class Side(asyncio.Protocol):
    """One of the two connections of a client: what it receives goes to the other one."""

    transport: asyncio.Transport
    other: "Side | None" = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport, and let the kernel find out whether its peer still exists."""
        self.transport = cast("asyncio.Transport", transport)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def data_received(self, data: bytes) -> None:
        """Pass the bytes on."""
        if self.other is not None:
            self.other.transport.write(data)

    def pause_writing(self) -> None:
        """Read no more from the other connection while this one is slower."""
        if self.other is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        """Read from the other connection again."""
        if self.other is not None and not self.other.transport.is_closing():
            self.other.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        """Close the other connection after what it still has to send; after an error, at once."""
        if self.other is not None and error:
            self.other.transport.abort()
        elif self.other is not None:
            self.other.transport.close()


class Server(Side):
    """The connection to a server. Its end is also the end of the client's connection."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Join the two connections."""
        super().connection_made(transport)
        self.other, self._client.other = self._client, self


class Client(Side):
    """A client's connection, which is read once its server is connected."""

    _connecting: "asyncio.Task[None]"

    def __init__(self, host: str, port: int) -> None:
        self._server = host, port

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connect to the server. Its address is looked up each time: a new container has a new one."""
        super().connection_made(transport)
        self.transport.pause_reading()
        self._connecting = asyncio.create_task(self._connect())

    async def _connect(self) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: Server(self), *self._server)
        except OSError as error:
            sys.stderr.write(f"{self._server[0]}:{self._server[1]} is unavailable: {error}\n")
            self.transport.abort()
        else:
            self.transport.resume_reading()

    def eof_received(self) -> bool:
        """Pass the end on, and keep the connection for what the server still sends."""
        if self.other is not None:
            self.other.transport.write_eof()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        """End an attempt to connect, too."""
        self._connecting.cancel()
        super().connection_lost(error)


async def listen(argument: str) -> None:
    """Accept connections as one argument of the command line says, until the program ends."""
    here, _, there = argument.partition("=")
    address, _, port = here.rpartition(":")
    host, _, server_port = there.rpartition(":")
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(lambda: Client(host, int(server_port)), address, int(port))
    bound = listening.sockets[0].getsockname()[1]
    sys.stderr.write(f"{address}:{bound} leads to {there}\n")


async def main(arguments: list[str]) -> None:
    """Pass connections on until SIGTERM."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    for argument in arguments:
        await listen(argument)
    await stop.wait()


if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.exit(__doc__)
    asyncio.run(main(sys.argv[1:]))
