"""The proxy of the compose file passes connections on, whole and in order, and keeps little of them."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROXY = Path(__file__).resolve().parents[2] / "containers" / "proxy.py"
MIB = 1 << 20


@contextmanager
def proxy_to(*targets: str) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """Run the proxy as the image does; yield its process and its port for each target."""
    arguments = [f"127.0.0.1:0={target}" for target in targets]
    command = [sys.executable, "-IS", str(PROXY), *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            lines = [process.stderr.readline() for _ in targets]
            yield process, [int(re.findall(r":(\d+) leads to ", line)[0]) for line in lines]
        finally:
            process.kill()


@contextmanager
def server(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """Accept connections on a loopback port, and call `serve` with each in a thread of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            while True:
                try:
                    connection = listening.accept()[0]
                except OSError:
                    return  # the test is over
                threading.Thread(target=_serve, args=(serve, connection), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)


def _serve(serve: Callable[[socket.socket], None], connection: socket.socket) -> None:
    with connection:
        serve(connection)


def receive_all(connection: socket.socket, *, at_once: int = MIB) -> bytes:
    """Return what comes until the other side ends."""
    parts = []
    while part := connection.recv(at_once):
        parts.append(part)
    return b"".join(parts)


def answer_after_the_end(connection: socket.socket) -> None:
    """Send back what came, after the client has sent all of it."""
    connection.sendall(receive_all(connection))


def send_all(connection: socket.socket, body: bytes) -> None:
    """Send the body, and end this direction."""
    connection.sendall(body)
    connection.shutdown(socket.SHUT_WR)


def connect(port: int) -> socket.socket:
    """Return a connection to a loopback port, with a generous timeout."""
    return socket.create_connection(("127.0.0.1", port), timeout=60)


@pytest.mark.parametrize("size", [0, 1, 3 * MIB])
def test_both_directions_arrive_whole_although_the_client_has_ended_its_own(size: int) -> None:
    """A client that ends its direction still gets the answer, which is what it sent."""
    body = os.urandom(size)
    with (
        server(answer_after_the_end) as port,
        proxy_to(f"127.0.0.1:{port}") as (_, (here,)),
        connect(here) as client,
    ):
        threading.Thread(target=send_all, args=(client, body)).start()
        assert receive_all(client) == body


def test_each_port_leads_to_its_own_server() -> None:
    """Two ports of one proxy lead to two servers."""
    with (
        server(lambda connection: connection.sendall(b"first")) as first,
        server(lambda connection: connection.sendall(b"second")) as second,
        proxy_to(f"127.0.0.1:{first}", f"localhost:{second}") as (_, ports),
    ):
        answers = []
        for port in ports:
            with connect(port) as client:
                answers.append(receive_all(client))
        assert answers == [b"first", b"second"]


def test_a_server_that_closes_ends_the_clients_connection() -> None:
    """The client sees the end, as without the proxy."""
    with (
        server(lambda connection: connection.close()) as port,
        proxy_to(f"127.0.0.1:{port}") as (_, (here,)),
        connect(here) as client,
    ):
        assert receive_all(client) == b""


def test_a_client_that_leaves_ends_the_servers_connection() -> None:
    """The server sees the end of a client, so that it need not work for nothing."""
    left = threading.Event()

    def wait_for_the_end(connection: socket.socket) -> None:
        receive_all(connection)
        left.set()

    with server(wait_for_the_end) as port, proxy_to(f"127.0.0.1:{port}") as (_, (here,)):
        connect(here).close()
        assert left.wait(60)


def test_a_server_that_starts_later_is_reached() -> None:
    """A refused connection ends the client's, and the next client gets through."""
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    with proxy_to(f"127.0.0.1:{port}") as (process, (here,)):
        with connect(here) as client:
            assert receive_all(client) == b""
        assert process.stderr is not None
        assert f"127.0.0.1:{port} is unavailable" in process.stderr.readline()
        with socket.create_server(("127.0.0.1", port)) as listening, connect(here) as client:
            connection = listening.accept()[0]
            connection.sendall(b"here now")
            connection.close()
            assert receive_all(client) == b"here now"


@pytest.mark.serial
def test_a_slow_client_does_not_fill_the_proxys_memory() -> None:
    """Measures the proxy's peak of memory, which 256 MiB to a client that reads slowly leave as it was."""
    block = bytes(MIB)

    def send(connection: socket.socket) -> None:
        for _ in range(256):
            connection.sendall(block)

    with server(send) as port, proxy_to(f"127.0.0.1:{port}") as (process, (here,)):
        before = peak_of_memory(process.pid)
        with connect(here) as client:
            received = 0
            while part := client.recv(8192):
                received += len(part)
        assert received == 256 * MIB
        assert peak_of_memory(process.pid) - before < 16 * MIB


def peak_of_memory(pid: int) -> int:
    """Return the most resident memory that a process has had, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024


def test_sigterm_ends_it_at_once_with_open_connections() -> None:
    """Status 0: by then the containers behind it have answered what they had to answer."""
    with (
        server(answer_after_the_end) as port,
        proxy_to(f"127.0.0.1:{port}") as (process, (here,)),
        connect(here) as client,
    ):
        client.sendall(b"not the end")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
