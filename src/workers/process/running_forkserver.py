"""One process of the fork server: orders go to it, and replies and events come from it."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import threading
from collections import deque
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from workers import forkserver as program
from workers.forkserver import transport

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Reply = tuple[dict[str, Any], int | None]

logger = logging.getLogger(__name__)

PROGRAM: Final = str(Path(program.__file__).parent)
_EXIT_TIMEOUT_SECONDS: Final = 10.0
_MAX_MESSAGE_BYTES: Final = 2**20  # to parse more would keep all other threads waiting


class RunningForkServer:
    """A process of the fork server, and the thread that receives what it sends."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str] | None,
        setup: Mapping[str, Any],
        on_event: Callable[[Mapping[str, Any]], None],
        *,
        output: int = 2,
        descriptors: Sequence[int] = (),
    ) -> None:
        """Start `command` with the program's arguments behind it, and send it `setup` with `descriptors`.

        `output` becomes its standard output and error.
        """
        self.killed = False
        self.ready = threading.Event()
        self._ended = False
        self._on_event = on_event
        self._pending: deque[Future[Reply]] = deque()
        self._lock = threading.Lock()
        with ExitStack() as undo:
            self._control, far = map(undo.enter_context, socket.socketpair())
            self.process = subprocess.Popen(  # noqa: S603 - our own program
                [*command, str(far.fileno())],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=[far.fileno()],
                process_group=0,  # a terminal sends its signals to the gateway alone, which then ends this
            )
            undo.callback(self.process.kill)
            far.close()
            transport.send(self._control, json.dumps(setup).encode(), descriptors)
            self._reader = threading.Thread(target=self._receive, name="fork server", daemon=True)
            self._reader.start()
            undo.pop_all()

    def order(self, body: bytes, descriptors: Sequence[int] = ()) -> Future[Reply]:
        """Send an order; return the reply to come, or its error. Raises OSError or EOFError."""
        outcome: Future[Reply] = Future()
        with self._lock:
            if self._ended:
                raise EOFError("the fork server has ended")
            self._pending.append(outcome)
            try:
                transport.send(self._control, body, descriptors)
            except (BrokenPipeError, ConnectionResetError) as error:
                self._pending.remove(outcome)
                raise EOFError("the fork server has ended") from error
            except OSError:  # nothing was sent: the next reply is another order's
                self._pending.remove(outcome)
                raise
        return outcome

    def kill(self) -> None:
        """Kill the server and so all workers."""
        self.killed = True
        self._kill_process()

    def _kill_process(self) -> None:
        self.process.kill()

    def close(self) -> None:
        """Let the server end all processes below it and itself; kill it if it takes too long."""
        if not self.ready.is_set():
            self.kill()  # it would import to the end first
        with suppress(OSError):
            self._control.shutdown(socket.SHUT_WR)
        try:
            self.process.wait(_EXIT_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        self._reader.join()

    def _receive(self) -> None:
        """Receive what the server sends, in a thread, until it has ended."""
        try:
            while True:
                self._receive_one()
        except (EOFError, OSError):
            pass
        except Exception:
            logger.exception("The fork server sent what it should not", extra={"event": "fork_server_broken"})
        finally:
            self._end()

    def _receive_one(self) -> None:
        """Receive and handle one message; close the descriptor that came with it if nothing wants it."""
        message, pidfd = _receive_message(self._control)
        if pidfd is not None and "pid" not in message:
            os.close(pidfd)
            pidfd = None
        try:
            self._handle(message, pidfd)
        except BaseException:
            if pidfd is not None:
                os.close(pidfd)
            raise

    def _end(self) -> None:
        self.kill()
        self.process.wait()
        with self._lock:
            self._ended = True
            pending, self._pending = self._pending, deque()
        self._control.close()
        for outcome in pending:
            outcome.set_exception(EOFError("the fork server has ended"))

    def _handle(self, message: dict[str, Any], pidfd: int | None) -> None:
        if "failed_imports" in message:
            self.ready.set()
        if "pid" not in message and ("failed_imports" in message or "ended_orphans" in message):
            self._on_event(message)
            return
        error = OSError(number := int(message["errno"]), os.strerror(number)) if "errno" in message else None
        with self._lock:
            outcome = self._pending.popleft()
        if error is not None and pidfd is None:
            outcome.set_exception(error)
        else:
            outcome.set_result((message, pidfd))


def _receive_message(control: socket.socket) -> Reply:
    try:
        body, descriptors = transport.receive(control, max_bytes=_MAX_MESSAGE_BYTES)
    except transport.DescriptorsLost as lost:  # the process is known by its id alone
        body, descriptors = lost.body, []
    for descriptor in descriptors[1:]:  # none is wanted
        os.close(descriptor)
    try:
        message = json.loads(body)
        if not isinstance(message, dict):
            raise TypeError("a message is no object")
    except Exception:
        for descriptor in descriptors[:1]:
            os.close(descriptor)
        raise
    return message, descriptors[0] if descriptors else None
