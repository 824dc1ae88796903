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

_PROGRAM: Final = str(Path(program.__file__).parent)
_EXIT_TIMEOUT_SECONDS: Final = 10.0


class RunningForkServer:
    """A process of the fork server, and the thread that receives what it sends."""

    def __init__(
        self,
        python: str,
        environment: Mapping[str, str] | None,
        setup: Mapping[str, Any],
        on_event: Callable[[Mapping[str, Any]], None],
    ) -> None:
        self.killed = False
        self._ended = False
        self._ready = threading.Event()
        self._on_event = on_event
        self._pending: deque[Future[Reply]] = deque()
        self._lock = threading.Lock()
        with ExitStack() as undo:
            self._control, far = map(undo.enter_context, socket.socketpair())
            self.process = subprocess.Popen(  # noqa: S603 - our own program
                [python, _PROGRAM, str(far.fileno())],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=2,
                pass_fds=[far.fileno()],
                process_group=0,  # a terminal sends its signals to the gateway alone, which then ends this
            )
            undo.callback(self.process.kill)
            far.close()
            transport.send(self._control, json.dumps(setup).encode())
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
        self.process.kill()

    def close(self) -> None:
        """Let the server end all processes below it and itself; kill it if it takes too long."""
        if not self._ready.is_set():
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
                self._handle(*_receive_message(self._control))
        except (EOFError, OSError):
            pass
        except Exception:
            logger.exception("The fork server sent what it should not", extra={"event": "fork_server_broken"})
        finally:
            self._end()

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
            self._ready.set()
        if "failed_imports" in message or "ended_orphans" in message:
            self._on_event(message)
            return
        with self._lock:
            outcome = self._pending.popleft()
        if "errno" in message:
            outcome.set_exception(OSError(message["errno"], os.strerror(message["errno"])))
        else:
            outcome.set_result((message, pidfd))


def _receive_message(control: socket.socket) -> Reply:
    try:
        body, descriptors = transport.receive(control)
    except transport.DescriptorsLost as lost:  # the process is known by its id alone
        body, descriptors = lost.body, []
    return json.loads(body), descriptors[0] if descriptors else None
