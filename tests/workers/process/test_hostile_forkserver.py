"""What a fork server sends whose packages are hostile takes nothing of the gateway's."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.waiting import until
from workers.process.forkserver import ForkServer
from workers.process.running_forkserver import RunningForkServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

SOURCES = str(Path(__file__).parents[3] / "src")
PROGRAM = f"""
import json, os, socket, sys
sys.path.append({SOURCES!r})
from workers.forkserver import transport
control = socket.socket(fileno=int(sys.argv[1]))
transport.receive(control)
def send(message, count=1):
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    transport.send(control, body, [0] * count)
"""
WAIT = "\ncontrol.recv(1)"
FLOOD = "for number in range(100): send({'failed_imports': [], 'number': number}, 2)\n" + WAIT
BROKEN = ["b'no JSON'", "[1]", "{'errno': 'x'}", "{'pid': 1}", "{'ended_orphans': []}", "b' ' * 2**21"]


@pytest.fixture
def start() -> Iterator[Callable[[str, Any], RunningForkServer]]:
    """A function that starts a program in place of the fork server."""
    started = []

    def start_program(code: str, on_event: Callable[[Mapping[str, Any]], None]) -> RunningForkServer:
        started.append(RunningForkServer([sys.executable, "-c", PROGRAM + code], None, {}, on_event))
        return started[-1]

    yield start_program
    for server in started:
        server.kill()
        server.close()


def count_descriptors() -> int:
    """Return how many descriptors this process has open."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - pathlib would keep one open


@pytest.mark.skipif(sys.platform != "linux", reason="descriptors are counted in /proc")
async def test_descriptors_that_come_with_events_are_closed(start: Callable[..., RunningForkServer]) -> None:
    """Some hundred of them are more than a process may have."""
    events: list[Mapping[str, Any]] = []
    before = count_descriptors()
    start(FLOOD, events.append)
    await until(lambda: len(events) == 100)
    assert count_descriptors() - before < 10


@pytest.mark.skipif(sys.platform != "linux", reason="descriptors are counted in /proc")
@pytest.mark.parametrize("message", BROKEN)
async def test_what_is_no_message_ends_the_server(
    start: Callable[..., RunningForkServer], message: str
) -> None:
    """The descriptor that came with it is closed; a message too large to be parsed at once is none."""
    before = count_descriptors()
    server = start(f"send({message}, 2)\n{WAIT}", lambda message: int(message["ended_orphans"]) and None)
    await until(lambda: server.killed)
    server.close()
    assert count_descriptors() == before


@pytest.mark.parametrize(
    ("answer", "expected"),
    [("{}", 0), ("{'pss_bytes': 'much'}", 0), ("{'pss_bytes': -5}", 0), ("{'pss_bytes': 7, 'pid': 1}", 7)],
)
def test_a_measurement_is_checked(
    start: Callable[..., RunningForkServer], monkeypatch: pytest.MonkeyPatch, answer: str, expected: int
) -> None:
    """No answer stops the measurement of all processes, or counts as memory that is gained."""
    forkserver = ForkServer()
    server = start(f"transport.receive(control)\nsend({answer})\n{WAIT}", lambda _: None)
    monkeypatch.setattr(forkserver, "_server", server)
    assert forkserver.measure_pss() == expected
