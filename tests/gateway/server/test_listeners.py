"""Proves how the listening sockets of several gateway processes share one port."""

from __future__ import annotations

import errno
import socket
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gateway.server import listeners
from gateway.server.addresses import ListenError

if TYPE_CHECKING:
    from collections.abc import Iterator

CLIENTS = 40
PATIENCE_SECONDS = 60.0
_TCP_REPAIR = 19


@pytest.fixture
def pair() -> Iterator[list[socket.socket]]:
    """Two listeners on one port of loopback."""
    with ExitStack() as stack:
        sets = listeners.open_listeners(["127.0.0.1"], 0, count=2)
        yield [stack.enter_context(each) for (each,) in sets]


@pytest.fixture
def single() -> Iterator[socket.socket]:
    """The one listener of a gateway of one process."""
    ((listener,),) = listeners.open_listeners(["127.0.0.1"], 0, count=1)
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
        listeners.open_listeners(["127.0.0.1"], pair[0].getsockname()[1], count=2)


def test_a_port_of_another_program() -> None:
    """Several processes reject it as one process does."""
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(OSError, match="in use"):
        listeners.open_listeners(["127.0.0.1"], other.getsockname()[1], count=2)


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="the system has no such option")
@pytest.mark.parametrize("sets", [1, 2])
def test_dead_clients_are_noticed(sets: int) -> None:
    """A silent connection is probed, and one that acknowledges nothing ends, both within minutes."""
    every = [listener for row in listeners.open_listeners(["127.0.0.1"], 0, count=sets) for listener in row]
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
    ((listener,),) = listeners.open_listeners(["127.0.0.1"], 0, count=1, keepalive_idle=1)
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
        listeners.open_listeners(["127.0.0.1"], single.getsockname()[1], count=1)


def test_every_address_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name with two addresses: each set has a socket for both, all on one port."""
    one, two = (
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in ("127.0.0.1", "127.0.0.2")
    )
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [one, two, one])
    with ExitStack() as stack:
        sets = listeners.open_listeners(["two.example"], 0, count=3)
        names = [[stack.enter_context(each).getsockname() for each in row] for row in sets]
    port = names[0][0][1]
    assert names == [[("127.0.0.1", port), ("127.0.0.2", port)]] * 3


HAS_IPV6 = socket.has_ipv6 and not Path("/proc/sys/net/ipv6/conf/lo/disable_ipv6").read_text().startswith("1")
needs_ipv6 = pytest.mark.skipif(not HAS_IPV6, reason="this machine has no IPv6")
ANY_IPV4 = "0.0.0.0"  # noqa: S104 - the test is about it


def opened(*hosts: str, count: int = 1) -> list[tuple[str, int]]:
    """Return what the sockets of the first set listen on; every set has the same."""
    with ExitStack() as stack:
        sets = listeners.open_listeners(hosts, 0, count=count)
        names = [[stack.enter_context(each).getsockname()[:2] for each in row] for row in sets]
    assert names == names[:1] * count
    return names[0]


def reachable(*hosts: str, count: int = 1) -> set[str]:
    """Return which addresses of loopback clients can connect to."""
    found = set()
    with ExitStack() as stack:
        sets = listeners.open_listeners(hosts, 0, count=count)
        port = {stack.enter_context(each).getsockname()[1] for row in sets for each in row}.pop()
        for address in ("127.0.0.1", "::1"):
            with suppress(ConnectionRefusedError):
                socket.create_connection((address, port), timeout=PATIENCE_SECONDS).close()
                found.add(address)
    return found


@needs_ipv6
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(
    ("hosts", "addresses"),
    [
        (["::"], {"127.0.0.1", "::1"}),
        (["::", "::1"], {"127.0.0.1", "::1"}),
        ([ANY_IPV4, "::"], {"127.0.0.1", "::1"}),
        (["::", ANY_IPV4, "127.0.0.1", "::1"], {"127.0.0.1", "::1"}),
        (["127.0.0.1", "::1"], {"127.0.0.1", "::1"}),
        (["::", "127.0.0.2"], {"::1"}),
        (["::1"], {"::1"}),
        ([ANY_IPV4], {"127.0.0.1"}),
    ],
)
def test_both_families(hosts: list[str], addresses: set[str], count: int) -> None:
    """`::` alone takes IPv4 too, and none of the addresses conflicts with another one."""
    assert reachable(*hosts, count=count) == addresses


@needs_ipv6
def test_all_addresses_have_one_port() -> None:
    """Each address has one socket, in the order of the setting, all on the port that the kernel chose."""
    names = opened("::1", "127.0.0.1", "::1", "127.0.0.2", count=2)
    port = names[0][1]
    assert names == [("::1", port), ("127.0.0.1", port), ("127.0.0.2", port)]


def test_any_port_is_free_on_every_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """If another program has the chosen port on the second address, another port is chosen."""
    with socket.create_server(("127.0.0.2", 0)) as other:
        taken = other.getsockname()[1]
        bind, ports = socket.socket.bind, [taken]

        def bind_taken_first(self: socket.socket, address: tuple[str, int]) -> None:
            bind(self, ("127.0.0.1", ports.pop()) if ports and address == ("127.0.0.1", 0) else address)

        monkeypatch.setattr(socket, "socket", type("Patched", (socket.socket,), {"bind": bind_taken_first}))
        names = opened("127.0.0.1", "127.0.0.2")
    assert not ports
    assert names[0][1] == names[1][1] != taken


def test_urls() -> None:
    """IPv6 addresses have brackets."""
    sets = listeners.open_listeners(["127.0.0.1", *(["::1"] if HAS_IPV6 else [])], 0, count=1)
    with ExitStack() as stack:
        sockets = [stack.enter_context(each) for each in sets[0]]
        port = sockets[0].getsockname()[1]
        expected = [f"http://127.0.0.1:{port}", f"http://[::1]:{port}"]
        assert listeners.urls(sockets) == expected[: len(sockets)]


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("host", ["192.0.2.250", "2001:db8::1"])
def test_an_address_of_another_machine(host: str, count: int) -> None:
    """The error names it, and says that the setting is wrong."""
    with pytest.raises(ListenError, match=f"{host}: GATEWAY_HOST names an address that") as caught:
        listeners.open_listeners(["127.0.0.1", host], 0, count=count)
    assert caught.value.misconfigured


def test_an_unknown_name() -> None:
    """Names are looked up; `.invalid` has no addresses anywhere, and the second is no name at all."""
    for host in ("gateway.invalid", "a" * 64):
        with pytest.raises(ListenError, match=f"{host}: GATEWAY_HOST names a host without an address"):
            listeners.open_listeners([host], 0, count=1)


def test_a_port_in_use_is_no_wrong_setting(single: socket.socket) -> None:
    """The error names the address and the port."""
    port = single.getsockname()[1]
    with pytest.raises(ListenError, match=f"127.0.0.1 port {port}: Address already in use") as caught:
        listeners.open_listeners(["127.0.0.1"], port, count=1)
    assert not caught.value.misconfigured


def without_ipv6(family: int, *arguments: Any) -> socket.socket:
    """Behave as `socket.socket` of a kernel without IPv6."""
    if family == socket.AF_INET6:
        raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
    return _SOCKET(family, *arguments)


_SOCKET = socket.socket


def test_a_machine_without_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    """`::` is a wrong setting there; a name such as localhost is served at its other address."""
    both = [
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 0, 0, 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
    ]
    monkeypatch.setattr(socket, "socket", without_ipv6)
    with pytest.raises(ListenError, match="this machine has no IPv6") as caught:
        listeners.open_listeners(["::"], 0, count=1)
    assert caught.value.misconfigured
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
    assert [host for host, _ in opened("localhost")] == ["127.0.0.1"]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both[:1])
    with pytest.raises(ListenError, match="this machine has no IPv6"):
        listeners.open_listeners(["localhost"], 0, count=1)
