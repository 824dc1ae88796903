"""The links of a node of a fleet: they are accepted on its address, with the certificates of their time."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from gateway.concurrency.background import supervised_task
from gateway.engines.transports.tcp_server import TcpServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.engines.transports.link_server import Accept
    from gateway.engines.transports.tcp_server import TcpOptions
    from gateway.server.tls import TlsReloader
    from workers.metrics import Counters


class NodeLinks:
    """A server of links, and what reads its certificates again.

    If an authority is removed, all links end; gateways whose certificates are still accepted open new ones.
    """

    def __init__(
        self,
        accept: Accept,
        options: TcpOptions,
        *,
        counters: Counters,
        create_reloader: Callable[[Callable[[], None]], TlsReloader] | None = None,
    ) -> None:
        """`create_reloader` is given what is called once an authority is removed. None: there is no TLS."""
        self._server = TcpServer(accept, options)
        self._counters = counters
        self._create_reloader = create_reloader
        self._stack = AsyncExitStack()

    async def open(self) -> str:
        """Listen, and return the address. Raise OSError."""
        address = await self._server.open()
        self._stack.push_async_callback(self._server.close)
        if self._create_reloader is not None:
            reloader = self._create_reloader(self._end_links)
            task = supervised_task(reloader.run, name="tls", counters=self._counters)
            await self._stack.enter_async_context(task)
        return address

    async def close(self) -> None:
        """Accept no more links, and end those that are open."""
        await self._stack.aclose()

    def _end_links(self) -> None:
        self._server.end_links("an authority of the gateways' certificates was removed")
