"""The fork server's loop: fork a process for each order, reap processes, end what models leave behind."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import pickle
import resource
import select
import signal
import sys
import time
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NoReturn

from workers.forkserver import orphans, received, transport

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

_SWEEP_MILLISECONDS: Final = 1_000
_PR_SET_PDEATHSIG: Final = 1
_END_SECONDS: Final = 8.0  # less than the gateway waits for
_DESCRIPTORS_KEPT: Final = 1_024
_FAILED_EXIT: Final = 1


class ForkServerLoop:
    """The loop of the server's only thread. `_reports` are pipes on which the gateway waits for exits."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._pid = os.getpid()
        self._reports: dict[int, int] = {}
        self._wakeup, self._wakeup_writer = os.pipe()
        for descriptor in (self._wakeup, self._wakeup_writer):
            os.set_blocking(descriptor, False)
        signal.signal(signal.SIGCHLD, _ignore)
        signal.set_wakeup_fd(self._wakeup_writer, warn_on_full_buffer=False)

    def run(self) -> None:
        """Serve until the gateway closes its end."""
        poll = select.poll()
        for descriptor in (self._control.fileno(), self._wakeup):
            poll.register(descriptor, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll(_SWEEP_MILLISECONDS)}
            if self._wakeup in ready:
                with suppress(BlockingIOError):
                    os.read(self._wakeup, 2**12)
            self._reap()
            if self._control.fileno() in ready:
                try:
                    self._serve_order()
                except (EOFError, OSError):
                    return
            else:
                self._end_orphans()

    def report(self, message: Mapping[str, Any], descriptors: tuple[int, ...] = ()) -> None:
        """Send the gateway a message. Raises OSError if it has ended."""
        transport.send(self._control, json.dumps(message).encode(), descriptors)

    def end_all(self) -> None:
        """Kill every process below this one."""
        for pid in self._reports:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
        deadline = time.monotonic() + _END_SECONDS
        while orphans.end_orphans(workers=()) and time.monotonic() < deadline:
            pass

    def _serve_order(self) -> None:
        try:
            order, descriptors = transport.receive(self._control)
        except transport.DescriptorsLost:
            self.report({"errno": errno.EMFILE})
            return
        if not order:
            self.report({"pss_bytes": _pss_bytes()})
            return
        try:
            pid = os.fork()
        except OSError as error:
            _close(*descriptors)
            self.report({"errno": error.errno})
            return
        if pid == 0:
            self._become_worker(order, descriptors)
        report, output, *others = descriptors
        _close(output, *others)
        self._reports[pid] = report
        pidfd = _open_pidfd(pid)
        try:
            self.report({"pid": pid}, () if pidfd is None else (pidfd,))
        except OSError:  # as many descriptors of this user as may be are on their way
            self.report({"pid": pid})
        if pidfd is not None:
            os.close(pidfd)

    def _become_worker(self, order: bytes, descriptors: list[int]) -> NoReturn:
        """Run an order in the process that was forked for it."""
        code = _FAILED_EXIT
        try:
            report, output, *received.descriptors = descriptors
            _end_with_server(self._pid)
            _limit_descriptors()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._control.close()
            _close(report, self._wakeup, self._wakeup_writer, *self._reports.values())
            for number in (1, 2):
                os.dup2(output, number)
            os.close(output)
            function, arguments = pickle.loads(order)  # noqa: S301 - from the gateway
            function(*arguments)
            code = 0
        except BaseException:  # noqa: BLE001 - the process ends here, and not in the server's loop
            traceback.print_exc()
        finally:
            _flush()
            os._exit(code)

    def _reap(self) -> None:
        """Tell the gateway of the workers that have ended, once all that they started has ended too."""
        while (pid := _ended_child()) is not None:
            report = self._reports.get(pid)
            if report is not None:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(pid, signal.SIGKILL)  # until it is reaped, no other process has its id
                self._end_orphans()
                del self._reports[pid]
                _, status = os.waitpid(pid, 0)
                with suppress(OSError):  # the gateway no longer wants to know
                    os.write(report, os.waitstatus_to_exitcode(status).to_bytes(4, "little", signed=True))
                os.close(report)
            else:
                os.waitpid(pid, 0)

    def _end_orphans(self) -> None:
        if count := orphans.end_orphans(self._reports):
            with suppress(OSError):
                self.report({"ended_orphans": count})


def _end_with_server(server: int) -> None:
    """End this process when the fork server ends; start a session, whose processes can be ended as one."""
    os.setsid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != server:  # it ended before the call
            os._exit(_FAILED_EXIT)


def _limit_descriptors() -> None:
    """Allow this process fewer descriptors than the gateway and the fork server.

    The kernel counts those that a user's processes send to each other and have not received yet, and refuses
    to send more when they exceed the sender's limit. A model must reach its own limit before theirs.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = max(soft // 2, soft - _DESCRIPTORS_KEPT)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))


def _ended_child() -> int | None:
    """Return a child that has ended and is not reaped yet."""
    try:
        result = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return None if result is None else result.si_pid


def _open_pidfd(pid: int) -> int | None:
    """Return a descriptor of a child that is not reaped yet; None if the system has none, or none left."""
    with suppress(AttributeError, OSError):
        return os.pidfd_open(pid)
    return None


def _pss_bytes() -> int:
    """Return this process' share of the memory that it maps, from smaps_rollup in proc(5); 0 if unknown."""
    with suppress(OSError), open("/proc/self/smaps_rollup", encoding="ascii") as file:  # noqa: PTH123
        return sum(int(line.split()[1]) * 1024 for line in file if line.startswith("Pss:"))
    return 0


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # the model may have closed or replaced it
            stream.flush()


def _ignore(*_: object) -> None:
    """Handle a signal that only has to wake the loop."""
