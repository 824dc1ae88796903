"""Proves how several sets of sockets share one port."""

from __future__ import annotations

import errno
import select
import socket
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from gateway.server import listeners

if TYPE_CHECKING:
    from collections.abc import Iterator

CLIENTS = 40
_TCP_REPAIR = 19


@pytest.fixture
def pair() -> Iterator[list[socket.socket]]:
    """Two listeners on one port of loopback."""
    with ExitStack() as stack:
        sets = listeners.open_listeners("127.0.0.1", 0, count=2)
        yield [stack.enter_context(each) for (each,) in sets]


def taken(listener: socket.socket) -> int:
    """How many connections wait there."""
    listener.setblocking(False)
    for count in range(CLIENTS + 1):
        try:
            listener.accept()[0].close()
        except BlockingIOError:
            return count
    raise AssertionError("more than there are clients")


def connect(port: int) -> None:
    for _ in range(CLIENTS):
        socket.create_connection(("127.0.0.1", port), timeout=5).close()


def test_connections_are_spread(pair: list[socket.socket]) -> None:
    """All are on the port that the first one picked, and each gets a part of the connections."""
    (port,) = {each.getsockname()[1] for each in pair}
    connect(port)
    first, second = (taken(each) for each in pair)
    assert first + second == CLIENTS
    assert min(first, second) > 0


@pytest.mark.parametrize("index", [0, 1])
def test_what_is_set_aside_gets_none(pair: list[socket.socket], index: int) -> None:
    """The others get all of them, until it is listened on again; setting aside twice is once."""
    port = pair[0].getsockname()[1]
    aside, other = pair[index], pair[1 - index]
    for _ in range(2):
        listeners.stop_listening([aside])
    connect(port)
    assert taken(other) == CLIENTS
    aside.listen()
    connect(port)
    assert taken(aside) > 0


def test_a_port_is_never_shared_with_another_gateway(pair: list[socket.socket]) -> None:
    """The kernel would let any program of the same user join in."""
    with pytest.raises(OSError, match="in use"):
        listeners.open_listeners("127.0.0.1", pair[0].getsockname()[1], count=2)


def test_a_port_that_one_listener_has() -> None:
    """It is refused as it is with one process."""
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(OSError, match="in use"):
        listeners.open_listeners("127.0.0.1", other.getsockname()[1], count=2)


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="the system has no such option")
@pytest.mark.parametrize("sets", [1, 2])
def test_dead_clients_are_noticed(sets: int) -> None:
    """What is accepted is probed when it is silent, and ended when it takes nothing, within minutes."""
    every = [listener for row in listeners.open_listeners("127.0.0.1", 0, count=sets) for listener in row]
    for other in every[1:]:
        other.close()
    with every[0] as listener, socket.create_connection(listener.getsockname(), timeout=5):
        accepted, _ = listener.accept()
        with accepted:
            tcp = socket.IPPROTO_TCP
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            probing = accepted.getsockopt(tcp, socket.TCP_KEEPCNT) * accepted.getsockopt(
                tcp, socket.TCP_KEEPINTVL
            )
            assert accepted.getsockopt(tcp, socket.TCP_KEEPIDLE) + probing <= 120
            assert 0 < accepted.getsockopt(tcp, socket.TCP_USER_TIMEOUT) <= 120_000


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a socket go without a word")
def test_a_half_open_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that is gone without FIN or reset is noticed by the probes, though nothing is sent to it."""
    monkeypatch.setattr(listeners, "_IDLE_SECONDS", 1)
    ((listener,),) = listeners.open_listeners("127.0.0.1", 0, count=1)
    with listener, socket.create_connection(listener.getsockname(), timeout=5) as client:
        accepted, _ = listener.accept()
        try:
            client.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, 1)
        except PermissionError:
            accepted.close()
            pytest.skip("it takes the capability NET_ADMIN")
        client.close()
        accepted.settimeout(30)
        with accepted, pytest.raises(ConnectionResetError):
            accepted.recv(1)


def test_one_process_has_the_port_to_itself() -> None:
    """On a port that the first address picks; nobody else is let in, and a busy one is refused."""
    ((listener,),) = listeners.open_listeners("127.0.0.1", 0, count=1)
    with listener, pytest.raises(OSError, match="in use"):
        listeners.open_listeners("127.0.0.1", listener.getsockname()[1], count=1)


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


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone can be told so")
def test_a_hushed_listener_keeps_what_it_has_and_takes_no_more() -> None:
    """Connections made before can be taken and used; whoever comes later is refused, not reset."""
    ((listener,),) = listeners.open_listeners("127.0.0.1", 0, count=1)
    address = listener.getsockname()
    with listener, socket.create_connection(address, timeout=30) as early, socket.socket() as late:
        assert listeners.hush(listener)
        late.setblocking(False)
        assert late.connect_ex(address) == errno.EINPROGRESS
        assert listeners.has_pending_connections([listener])
        there, _ = listener.accept()
        with there:
            early.sendall(b"x")
            assert there.recv(1) == b"x"
            assert not listeners.has_pending_connections([listener])
            listener.close()
            waiting = select.poll()
            waiting.register(late, select.POLLOUT)
            assert waiting.poll(30_000)
            assert late.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED
            early.sendall(b"y")
            assert there.recv(1) == b"y"


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone can be told so")
def test_a_hushed_listener_can_listen_again() -> None:
    """What one process has hushed the next one takes over, with whoever knocks then; twice is once."""
    ((listener,),) = listeners.open_listeners("127.0.0.1", 0, count=1)
    with listener:
        assert listeners.hush(listener)
        for _ in range(2):
            listeners.listen_again(listener)
        connect(listener.getsockname()[1])
        assert taken(listener) == CLIENTS


def test_one_set_is_not_shared() -> None:
    """A gateway of one process has its port to itself."""
    ((listener,),) = listeners.open_listeners("127.0.0.1", 0, count=1)
    with listener, pytest.raises(OSError, match="in use"):
        listeners.open_listeners("127.0.0.1", listener.getsockname()[1], count=1)
