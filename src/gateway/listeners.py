"""The sockets of several gateway processes: all on one port, a set for each of them."""

from __future__ import annotations

import socket
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_BACKLOG: Final = 128  # aiohttp's own


def opened(host: str, port: int, *, sets: int) -> list[list[socket.socket]]:
    """So many sets of listening sockets, in each set one for every address of `host`; raises OSError.

    The kernel spreads new connections over the sets. All are on one port, which the first address
    picks where `port` is 0.
    """
    found: list[list[socket.socket]] = [[] for _ in range(sets)]
    with ExitStack() as undo:
        for family, address in _addresses(host, port):
            host_and_port = (address[0], port, *address[2:])
            # With SO_REUSEPORT from the start two gateways of one user would share a port, and nobody
            # notice. The claim goes afterwards: a socket that picked its port would lose it when set aside.
            with _listener(family, host_and_port, shared=False) as claim:
                claim.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                for each in found:
                    each.append(undo.enter_context(_listener(family, claim.getsockname(), shared=True)))
                port = claim.getsockname()[1]
        undo.pop_all()
    return found


def set_aside(sockets: Sequence[socket.socket]) -> None:
    """End what waits there, and let new connections go to the other sets, until somebody listens again."""
    for each in sockets:
        with suppress(OSError):  # nobody has listened since the last time
            each.shutdown(socket.SHUT_RD)


def _addresses(host: str, port: int) -> list[tuple[socket.AddressFamily, Any]]:
    """What asyncio listens on where it is given `host`."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))


def _listener(family: socket.AddressFamily, address: Any, *, shared: bool) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(shared))
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener
