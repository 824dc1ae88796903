"""Proves how the listening sockets of several gateway processes share one port."""

from __future__ import annotations

import socket
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from gateway.server import listeners

if TYPE_CHECKING:
    from collections.abc import Iterator

CLIENTS = 40
PATIENCE_SECONDS = 60.0
_TCP_REPAIR = 19


@pytest.fixture
def pair() -> Iterator[list[socket.socket]]:
    """Two listeners on one port of loopback."""
    with ExitStack() as stack:
        sets = listeners.open_listeners("127.0.0.1", 0, count=2)
        yield [stack.enter_context(each) for (each,) in sets]


@pytest.fixture
def single() -> Iterator[socket.socket]:
    """The one listener of a gateway of one process."""
    ((listener,),) = listeners.open_listeners("127.0.0.1", 0, count=1)
    with listener:
        yield listener


def accepted_by(listener: socket.socket) -> int:
    """Accept all pending connections, and return how many there were."""
    listener.setblocking(False)
    for count in range(CLIENTS + 1):
        try:
            listener.accept()[0].close()
        except BlockingIOError:
            return count
    raise AssertionError("more connections than clients")


def connect(port: int) -> None:
    """Connect all clients, one after the other."""
    for _ in range(CLIENTS):
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS).close()


def test_connections_are_spread(pair: list[socket.socket]) -> None:
    """All listeners are on the port that the first one got, and each accepts a part of the connections."""
    (port,) = {each.getsockname()[1] for each in pair}
    connect(port)
    first, second = (accepted_by(each) for each in pair)
    assert first + second == CLIENTS
    assert min(first, second) > 0


@pytest.mark.parametrize("index", [0, 1])
def test_a_listener_that_stops_gets_no_connections(pair: list[socket.socket], index: int) -> None:
    """The other one gets all of them, until it listens again; stopping twice is no error."""
    port = pair[0].getsockname()[1]
    stopped, other = pair[index], pair[1 - index]
    for _ in range(2):
        listeners.stop_listening([stopped])
    connect(port)
    assert accepted_by(other) == CLIENTS
    stopped.listen()
    connect(port)
    assert accepted_by(stopped) > 0


def test_pending_connections_are_seen(single: socket.socket) -> None:
    """A connection is pending from its handshake until it is accepted."""
    assert not listeners.has_pending_connections([single])
    with socket.create_connection(single.getsockname(), timeout=PATIENCE_SECONDS):
        assert listeners.has_pending_connections([single])
        single.accept()[0].close()
        assert not listeners.has_pending_connections([single])


def test_a_port_is_never_shared_with_another_gateway(pair: list[socket.socket]) -> None:
    """Although the kernel would let another program of the same user share it."""
    with pytest.raises(OSError, match="in use"):
        listeners.open_listeners("127.0.0.1", pair[0].getsockname()[1], count=2)


def test_a_port_of_another_program() -> None:
    """Several processes reject it as one process does."""
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(OSError, match="in use"):
        listeners.open_listeners("127.0.0.1", other.getsockname()[1], count=2)


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="the system has no such option")
@pytest.mark.parametrize("sets", [1, 2])
def test_dead_clients_are_noticed(sets: int) -> None:
    """A silent connection is probed, and one that acknowledges nothing ends, both within minutes."""
    every = [listener for row in listeners.open_listeners("127.0.0.1", 0, count=sets) for listener in row]
    for other in every[1:]:
        other.close()
    with (
        every[0] as listener,
        socket.create_connection(listener.getsockname(), timeout=PATIENCE_SECONDS),
    ):
        accepted, _ = listener.accept()
        with accepted:
            tcp = socket.IPPROTO_TCP
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            probing = accepted.getsockopt(tcp, socket.TCP_KEEPCNT) * accepted.getsockopt(
                tcp, socket.TCP_KEEPINTVL
            )
            assert accepted.getsockopt(tcp, socket.TCP_KEEPIDLE) + probing <= 120
            assert 0 < accepted.getsockopt(tcp, socket.TCP_USER_TIMEOUT) <= 120_000


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a socket close without telling its peer")
def test_a_half_open_connection() -> None:
    """Probes notice a client that vanished without FIN or RST, although nothing is sent to it."""
    ((listener,),) = listeners.open_listeners("127.0.0.1", 0, count=1, keepalive_idle=1)
    with listener, socket.create_connection(listener.getsockname(), timeout=PATIENCE_SECONDS) as client:
        accepted, _ = listener.accept()
        try:
            client.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, 1)
        except PermissionError:
            accepted.close()
            pytest.skip("it takes the capability NET_ADMIN")
        client.close()
        accepted.settimeout(PATIENCE_SECONDS)
        with accepted, pytest.raises(ConnectionResetError):
            accepted.recv(1)


def test_one_process_has_the_port_to_itself(single: socket.socket) -> None:
    """No other listener is allowed on the port that it got."""
    with pytest.raises(OSError, match="in use"):
        listeners.open_listeners("127.0.0.1", single.getsockname()[1], count=1)


def test_every_address_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name with two addresses: each set has a socket for both, all on one port."""
    one, two = (
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in ("127.0.0.1", "127.0.0.2")
    )
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [one, two, one])
    with ExitStack() as stack:
        sets = listeners.open_listeners("two.example", 0, count=3)
        names = [[stack.enter_context(each).getsockname() for each in row] for row in sets]
    port = names[0][0][1]
    assert names == [[("127.0.0.1", port), ("127.0.0.2", port)]] * 3
