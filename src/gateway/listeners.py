"""The sockets that clients connect to: those of one gateway process, or a set for each of several."""

from __future__ import annotations

import socket
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

BACKLOG: Final = 1024  # a burst of new clients waits here; the kernel may have a smaller limit of its own

# A client whose machine is gone without a word is noticed after a minute, one that takes no byte of what
# is sent to it after a minute and a half.
_IDLE_SECONDS: Final = 30
_PROBE_SECONDS: Final = 10
_PROBES: Final = 3
_UNTAKEN_MILLISECONDS: Final = 90_000


def alone(host: str, port: int) -> list[socket.socket]:
    """Listening sockets of a process that has the port to itself, one for every address of `host`.

    All are on one port, which the first address picks where `port` is 0. Raises OSError.
    """
    found: list[socket.socket] = []
    with ExitStack() as undo:
        for family, address in _addresses(host, port):
            listener = _listener(family, (address[0], port, *address[2:]), shared=False)
            found.append(undo.enter_context(listener))
            port = listener.getsockname()[1]
        undo.pop_all()
    return found


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
        _notice_the_dead(listener)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _notice_the_dead(listener: socket.socket) -> None:
    """Have the kernel end connections whose other side is gone: what is accepted inherits the options."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", _IDLE_SECONDS),
        ("TCP_KEEPINTVL", _PROBE_SECONDS),
        ("TCP_KEEPCNT", _PROBES),
        ("TCP_USER_TIMEOUT", _UNTAKEN_MILLISECONDS),
    ):
        if (option := getattr(socket, name, None)) is not None:  # not every system has each of them
            listener.setsockopt(socket.IPPROTO_TCP, option, value)
