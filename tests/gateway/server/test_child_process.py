"""Proves how forked processes are seen, watched and ended by their parent."""

from __future__ import annotations

import faulthandler
import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from gateway.server import process_end
from gateway.server.child_process import ChildContext, ChildProcess
from gateway.server.process_end import end_processes
from gateway.server.process_slot import ProcessSlot
from gateway.server.process_slots import ProcessSlots, wait_for_events
from gateway.server.signals import SignalInbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECONDS = 60.0


@pytest.fixture
def inbox() -> Iterator[SignalInbox]:
    """Yield an inbox that gets no signal but those that a test writes."""
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    yield SignalInbox(read_end)
    os.close(read_end)
    os.close(write_end)


def sleep_long(child: ChildContext) -> int:
    """Announce, and run until a signal."""
    faulthandler.disable()  # SIGABRT writes no stacks here
    child.announce("here")
    time.sleep(3600)
    return 0


def ignore_and_sleep(child: ChildContext) -> int:
    """Announce, and run until killed."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    return sleep_long(child)


def slots_of(
    serve: Callable[[ChildContext], int], count: int = 1, hang_seconds: float = SECONDS
) -> ProcessSlots:
    """Return slots in which processes that `serve` have been started."""

    def start() -> ChildProcess:
        return ChildProcess("tested", serve, handle_sighup=False)

    slots = ProcessSlots(
        [ProcessSlot(f"Process {number}", (), start) for number in range(count)], hang_seconds=hang_seconds
    )
    slots.start_due()
    return slots


def wait_until(condition: Callable[[], bool], slots: ProcessSlots, inbox: SignalInbox) -> None:
    """Take in events until the condition holds."""
    ends = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < ends
        wait_for_events(slots.processes, inbox, 0.1)


def test_the_address_and_the_status_are_seen(inbox: SignalInbox) -> None:
    """All listen once each has announced; the status is what the function returned."""

    def work(child: ChildContext) -> int:
        child.announce("here")
        return 7

    slots = slots_of(work, count=2)
    first, second = slots.processes
    wait_until(lambda: not slots.running and slots.all_listen, slots, inbox)
    assert (first.exit_status, second.exit_reason, first.address) == (7, "status 7", "here")


def test_processes_end_with_a_signal(inbox: SignalInbox) -> None:
    """All get it, and it is no force."""
    slots = slots_of(sleep_long, count=2)
    wait_until(lambda: slots.all_listen, slots, inbox)
    assert not end_processes(slots, signal.SIGTERM, seconds=SECONDS, inbox=inbox)
    assert [process.exit_status for process in slots.processes] == [0, 0]


def test_a_second_signal_reaches_them(inbox: SignalInbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that ends neither then is killed, and the log says so."""
    monkeypatch.setattr(process_end, "_EXIT_SECONDS", 0.2)
    slots = slots_of(ignore_and_sleep)
    wait_until(lambda: slots.all_listen, slots, inbox)
    inbox.stop_signals += [signal.SIGTERM, signal.SIGTERM]
    assert end_processes(slots, signal.SIGTERM, seconds=SECONDS, inbox=inbox)
    assert [process.exit_reason for process in slots.processes] == ["SIGKILL"]


def test_a_process_that_never_ends_is_killed(
    inbox: SignalInbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Once its time is over."""
    monkeypatch.setattr(process_end, "_EXIT_SECONDS", 0.2)
    slots = slots_of(ignore_and_sleep)
    wait_until(lambda: slots.all_listen, slots, inbox)
    assert not end_processes(slots, signal.SIGTERM, seconds=0.1, inbox=inbox)
    assert [process.exit_reason for process in slots.processes] == ["SIGKILL"]
    assert "did not exit in time" in caplog.text


def test_a_process_without_a_heartbeat_is_killed(
    inbox: SignalInbox, caplog: pytest.LogCaptureFixture
) -> None:
    """At the last of several checks; the log names its slot."""
    slots = slots_of(sleep_long, hang_seconds=0.3)
    wait_until(lambda: slots.all_listen, slots, inbox)
    ends = time.monotonic() + SECONDS
    while slots.running and time.monotonic() < ends:
        slots.kill_hung()
        time.sleep(max(0.0, slots.seconds_until_due()))
    assert [process.exit_reason for process in slots.processes] == ["SIGABRT"]
    assert "Process 0 hangs" in caplog.text


def test_sighup_is_asked_for_once(inbox: SignalInbox) -> None:
    """The inbox tells of it once, and keeps signals to stop apart."""
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    other = SignalInbox(read_end)
    os.write(write_end, bytes([signal.SIGHUP, signal.SIGTERM, signal.SIGHUP]))
    other.read()
    other.read()
    assert other.take_reload_request()
    assert not other.take_reload_request()
    assert other.stop_signals == [signal.SIGTERM]
    assert inbox.stop_signals == []
    os.close(read_end)
    os.close(write_end)
