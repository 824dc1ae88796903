"""The sockets that clients connect to: those of one gateway process, or a set for each of several."""

from __future__ import annotations

import ctypes
import select
import socket
import struct
import sys
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

BACKLOG: Final = 1024  # a burst of new clients waits here; the kernel may have a smaller limit of its own

# A client whose machine is gone without a word is noticed after a minute, one that takes no byte of what
# is sent to it after a minute and a half.
_KEEPALIVE_IDLE_SECONDS: Final = 30
_KEEPALIVE_INTERVAL_SECONDS: Final = 10
_KEEPALIVE_PROBES: Final = 3
_USER_TIMEOUT_MILLISECONDS: Final = 90_000


_SO_ATTACH_FILTER: Final = 26
_SO_DETACH_FILTER: Final = 27
# A socket filter for the kernel that drops a segment which begins a connection (SYN without ACK).
_NO_SYN: Final = ctypes.create_string_buffer(
    b"".join(
        struct.pack("HBBI", *step)
        for step in (
            (0x30, 0, 0, 13),  # load the byte of TCP's flags
            (0x54, 0, 0, 0x12),  # keep SYN and ACK
            (0x15, 0, 1, 0x02),  # only SYN?
            (0x06, 0, 0, 0),  # drop
            (0x06, 0, 0, 0xFFFFFFFF),  # pass
        )
    )
)
_STEPS: Final = 5


def open_listeners(host: str, port: int, *, count: int) -> list[list[socket.socket]]:
    """So many sets of listening sockets, in each set one for every address of `host`; raises OSError.

    The kernel spreads new connections over the sets. All are on one port, which the first address
    picks where `port` is 0.
    """
    if count == 1:
        return [_open_set(host, port)]
    found: list[list[socket.socket]] = [[] for _ in range(count)]
    with ExitStack() as undo:
        for family, address in _resolve(host, port):
            host_and_port = (address[0], port, *address[2:])
            # With SO_REUSEPORT from the start two gateways of one user would share a port, and nobody
            # notice. The claim goes afterwards: a socket that picked its port would lose it when set aside.
            with _open_listener(family, host_and_port, shared=False) as claim:
                claim.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                for each in found:
                    each.append(undo.enter_context(_open_listener(family, claim.getsockname(), shared=True)))
                port = claim.getsockname()[1]
        undo.pop_all()
    return found


def hush(listener: socket.socket) -> bool:
    """Have the kernel pass over whoever knocks from now on; whether it can.

    Connections that were made already can still be taken. Whoever knocked meanwhile tries again in a
    second, and finds the socket closed by then.
    """
    if sys.platform != "linux":
        return False
    program = struct.pack("HP", _STEPS, ctypes.addressof(_NO_SYN))
    try:
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
    except OSError:
        return False
    return True


def listen_again(listener: socket.socket) -> None:
    """Undo `hush`, which a process before this one may have left on a socket that outlives both."""
    if sys.platform == "linux":
        with suppress(OSError):  # there is no filter
            listener.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)


def has_pending_connections(sockets: Sequence[socket.socket]) -> bool:
    """Whether a connection was made at one of the sockets that nobody has taken yet."""
    waiting = select.poll()  # select itself cannot look at descriptors above 1023
    for each in sockets:
        waiting.register(each, select.POLLIN)
    return bool(waiting.poll(0))


def stop_listening(sockets: Sequence[socket.socket]) -> None:
    """End what waits there, and let new connections go to the other sets, until somebody listens again."""
    for each in sockets:
        with suppress(OSError):  # nobody has listened since the last time
            each.shutdown(socket.SHUT_RD)


def _open_set(host: str, port: int) -> list[socket.socket]:
    with ExitStack() as undo:
        found: list[socket.socket] = []
        for family, address in _resolve(host, port):
            listener = _open_listener(family, (address[0], port, *address[2:]), shared=False)
            found.append(undo.enter_context(listener))
            port = listener.getsockname()[1]
        undo.pop_all()
    return found


def _resolve(host: str, port: int) -> list[tuple[socket.AddressFamily, Any]]:
    """What asyncio listens on where it is given `host`."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))


def _open_listener(family: socket.AddressFamily, address: Any, *, shared: bool) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(shared))
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        _enable_keepalive(listener)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _enable_keepalive(listener: socket.socket) -> None:
    """Have the kernel end connections whose other side is gone: what is accepted inherits the options."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", _KEEPALIVE_IDLE_SECONDS),
        ("TCP_KEEPINTVL", _KEEPALIVE_INTERVAL_SECONDS),
        ("TCP_KEEPCNT", _KEEPALIVE_PROBES),
        ("TCP_USER_TIMEOUT", _USER_TIMEOUT_MILLISECONDS),
    ):
        if (option := getattr(socket, name, None)) is not None:  # not every system has each of them
            listener.setsockopt(socket.IPPROTO_TCP, option, value)
