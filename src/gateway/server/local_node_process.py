"""The node process: the one process below the supervisor that holds the models for all gateway processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.engines.transports.unix_server import UnixServer
from gateway.server import node_process
from gateway.server.node_process import NodeContext

if TYPE_CHECKING:
    from gateway.engines.transports.link_server import Accept
    from gateway.server.child_process import ChildContext
    from gateway.server.gateway_process import SharedSetup
    from gateway.server.node_socket import NodeSocket
    from gateway.settings import Settings


def serve(
    setup: SharedSetup, settings: Settings, socket: NodeSocket, number: int, child: ChildContext
) -> int:
    """Hold the models as process `number` until a signal to stop, and return the exit status."""
    for listeners in setup.listener_sets:
        for listener in listeners:
            listener.close()
    context = NodeContext(
        link_server=lambda accept, _: LocalLinks(socket, accept, max_body_bytes=settings.max_body_bytes),
        announce=child.announce,
        read_settings=setup.read_settings,
        heartbeat=child.heartbeat,
        slot=setup.slot(number),
        name="this machine",
    )
    return node_process.run(settings, context)


class LocalLinks:
    """A server of links over the socket that the supervisor listens on."""

    def __init__(self, socket: NodeSocket, accept: Accept, *, max_body_bytes: int) -> None:
        self._socket = socket
        self._server = UnixServer(accept, token=socket.address.token, max_body_bytes=max_body_bytes)

    async def open(self) -> str:
        """Accept links, and return the address in words."""
        await self._server.open(self._socket.listener)
        return "a socket of this machine"

    async def close(self) -> None:
        """Accept no more links, and end those that are open."""
        await self._server.close()
