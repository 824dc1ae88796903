"""The listening sockets of one gateway process, or one set of them for each of several processes."""

from __future__ import annotations

import errno
import select
import socket
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Final

from gateway.server.addresses import Address, ListenError, resolve

if TYPE_CHECKING:
    from collections.abc import Sequence

BACKLOG: Final = 1024  # the kernel may have a smaller limit of its own
# A client whose machine has vanished is noticed after a minute, one that acknowledges no byte after 90 s.
_KEEPALIVE_IDLE_SECONDS: Final = 30
_KEEPALIVE_INTERVAL_SECONDS: Final = 10
_KEEPALIVE_PROBES: Final = 3
_USER_TIMEOUT_MILLISECONDS: Final = 90_000
_ATTEMPTS_WITH_ANY_PORT: Final = 20


def open_listeners(
    hosts: Sequence[str], port: int, *, count: int, keepalive_idle: int = _KEEPALIVE_IDLE_SECONDS
) -> list[list[socket.socket]]:
    """Open `count` sets of listening sockets, each with one socket for every address of `hosts`.

    The kernel spreads new connections over the sets. All listen on one port; the kernel chooses it if `port`
    is 0. A silent client is probed after `keepalive_idle` seconds. Raise ListenError if an address cannot be
    listened on. A name may have addresses that this machine does not have, if it has another one.
    """
    addresses = resolve(hosts)
    attempts = _ATTEMPTS_WITH_ANY_PORT if port == 0 else 1
    while True:
        try:
            return _open_sets(addresses, port, count=count, keepalive_idle=keepalive_idle)
        except ListenError as error:  # a port that is free on one address may be in use on the next
            attempts -= 1
            if error.errno != errno.EADDRINUSE or not attempts:
                raise


def _open_sets(
    addresses: Sequence[Address], port: int, *, count: int, keepalive_idle: int
) -> list[list[socket.socket]]:
    sets: list[list[socket.socket]] = [[] for _ in range(count)]
    served: set[str] = set()
    missing: dict[str, ListenError] = {}
    with ExitStack() as undo:
        for address in addresses:
            try:
                opened = _open_on_one_port(address, port, count=count, keepalive_idle=keepalive_idle)
            except OSError as error:
                failure = ListenError.from_os_error(error, host=address.host, port=port)
                if not (address.is_from_name and failure.misconfigured):
                    raise failure from error
                missing[address.host] = failure
                continue
            served.add(address.host)
            for row, listener in zip(sets, opened, strict=True):
                row.append(undo.enter_context(listener))
            port = opened[0].getsockname()[1]
        for failure in (missing[host] for host in missing.keys() - served):
            raise failure
        undo.pop_all()
    return sets


def urls(sockets: Sequence[socket.socket], *, tls: bool = False) -> list[str]:
    """Return the base URLs that the sockets serve, in their order."""
    scheme, names = "https" if tls else "http", [each.getsockname()[:2] for each in sockets]
    return [
        f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}" for host, port in names
    ]


def has_pending_connections(sockets: Sequence[socket.socket]) -> bool:
    """Return whether one of the sockets has an established connection that is not accepted yet."""
    poll = select.poll()  # `select.select` cannot watch descriptors above 1023
    for each in sockets:
        poll.register(each, select.POLLIN)
    return bool(poll.poll(0))


def stop_listening(sockets: Sequence[socket.socket]) -> None:
    """Reset connections that are not accepted; new ones go to the other sets until `listen` is called."""
    for each in sockets:
        with suppress(OSError):  # it does not listen
            each.shutdown(socket.SHUT_RD)


def _open_on_one_port(address: Address, port: int, *, count: int, keepalive_idle: int) -> list[socket.socket]:
    """Open `count` sockets on one address; the kernel chooses their port if it is 0."""
    if count == 1:
        return [_open(address, port, shared=False, keepalive_idle=keepalive_idle)]
    # With SO_REUSEPORT from the start, two gateways of one user would share a port unnoticed. The claim
    # itself serves no clients: a socket that chose its own port loses it when it stops listening.
    with ExitStack() as undo, _open(address, port, shared=False, keepalive_idle=keepalive_idle) as claim:
        claim.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        port = claim.getsockname()[1]
        opened = [
            undo.enter_context(_open(address, port, shared=True, keepalive_idle=keepalive_idle))
            for _ in range(count)
        ]
        undo.pop_all()
    return opened


def _open(address: Address, port: int, *, shared: bool, keepalive_idle: int) -> socket.socket:
    listener = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(shared))
        if address.family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(not address.dual_stack))
        _enable_keepalive(listener, keepalive_idle)
        listener.bind(address.with_port(port))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _enable_keepalive(listener: socket.socket, keepalive_idle: int) -> None:
    """Have the kernel end connections whose client is gone; accepted connections inherit the options."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", keepalive_idle),
        ("TCP_KEEPINTVL", _KEEPALIVE_INTERVAL_SECONDS),
        ("TCP_KEEPCNT", _KEEPALIVE_PROBES),
        ("TCP_USER_TIMEOUT", _USER_TIMEOUT_MILLISECONDS),
    ):
        if (option := getattr(socket, name, None)) is not None:  # not every system has each of them
            listener.setsockopt(socket.IPPROTO_TCP, option, value)
