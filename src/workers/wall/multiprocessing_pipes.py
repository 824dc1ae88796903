"""Let multiprocessing work without sockets in the file system, which a confined process does not get.

Before Landlock 9 (Linux 7.1) the kernel cannot tell a model's own socket from D-Bus' or Docker's. So
listeners and clients of family AF_UNIX become pairs of named pipes, descriptors are opened again by `/proc`
instead of sent, and the start method forkserver starts processes as spawn does.

This file stands alone: spawned children of a model run it by its path.
"""

from __future__ import annotations

import contextlib
import errno
import multiprocessing.connection
import multiprocessing.context
import multiprocessing.reduction
import multiprocessing.shared_memory
import multiprocessing.spawn
import multiprocessing.util
import os
import secrets
import select
from typing import Any, Final

_connection: Any = multiprocessing.connection
_reduction: Any = multiprocessing.reduction
_shared_memory: Any = multiprocessing.shared_memory
_spawn: Any = multiprocessing.spawn

_RECORD_BYTES: Final = 16  # of a client's name in the listener's pipe, which takes it in one piece
_NAME_CHARACTERS: Final = 64  # of shared memory: all models see one folder, and could guess 32 bits
_ACKNOWLEDGE: Final = b"A"
_CONNECT_SECONDS: Final = 20.0
_IN_CHILD: Final = (
    "import importlib.util as u; s = u.spec_from_file_location('_multiprocessing_pipes', {path!r}); "
    "m = u.module_from_spec(s); s.loader.exec_module(m); m.install(); "
)

_socket_listener: Any = _connection.SocketListener
_socket_client: Any = _connection.SocketClient
_send_handle: Any = _reduction.send_handle
_receive_handle: Any = _reduction.recv_handle
_command_line: Any = _spawn.get_command_line


def install() -> None:
    """Change multiprocessing in this process; its forks and the processes that it spawns are changed too."""
    _shared_memory._SHM_SAFE_NAME_LENGTH = _NAME_CHARACTERS  # noqa: SLF001 - no public function sets it
    _connection.SocketListener = _listen
    _connection.SocketClient = _connect
    _reduction.send_handle = _send
    _reduction.recv_handle = _receive
    _spawn.get_command_line = _command_line_with_pipes
    forkserver: Any = multiprocessing.context.ForkServerProcess
    forkserver._Popen = staticmethod(_start_by_spawn)  # noqa: SLF001 - no public function chooses it


class PipesConnection(multiprocessing.connection.Connection):
    """A connection in both directions over two named pipes."""

    def __init__(self, reader: int, writer: int) -> None:
        super().__init__(reader)
        self._writer = writer

    def _send(self, buf: Any, _write: object = None) -> None:
        rest = memoryview(buf)
        while rest:
            rest = rest[os.write(self._writer, rest) :]

    def _close(self) -> None:
        os.close(self._handle)
        os.close(self._writer)

    _handle: int


class PipeListener:
    """A listener at a named pipe, into which each client writes the name of its two pipes."""

    def __init__(self, address: str) -> None:
        os.mkfifo(address, 0o600)
        self._address = address
        self._last_accepted = None
        self._doorbell = os.open(address, os.O_RDWR | os.O_CLOEXEC)  # for writing too, so that it never ends
        self._unlink = multiprocessing.util.Finalize(self, _unlink, args=(address,), exitpriority=0)

    def accept(self) -> PipesConnection:
        """Wait for a client, and return the connection to it."""
        while True:
            name = self._address + os.read(self._doorbell, _RECORD_BYTES).decode("ascii")
            try:
                writer = os.open(name + "s", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
                reader = os.open(name + "c", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError:  # the client has gone
                continue
            os.write(writer, _ACKNOWLEDGE)
            return _connected(reader, writer)

    def close(self) -> None:
        """Listen no more."""
        if self._doorbell >= 0:
            os.close(self._doorbell)
            self._doorbell = -1
            self._unlink()


def _listen(address: Any, family: str, backlog: int = 1) -> Any:
    if family != "AF_UNIX":
        return _socket_listener(address, family, backlog)
    return PipeListener(address)


def _connect(address: Any) -> Any:
    if _connection.address_type(address) != "AF_UNIX":
        return _socket_client(address)
    suffix = secrets.token_hex(_RECORD_BYTES // 2)
    name = address + suffix
    pipes = name + "s", name + "c"
    try:
        doorbell = os.open(address, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise ConnectionRefusedError(
                errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED), address
            ) from error
        raise
    with contextlib.ExitStack() as undo:
        undo.callback(os.close, doorbell)
        for pipe in pipes:
            os.mkfifo(pipe, 0o600)
            undo.callback(_unlink, pipe)
        reader = os.open(pipes[0], os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        held = os.open(pipes[1], os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # until the listener reads
        undo.callback(os.close, held)
        writer = os.open(pipes[1], os.O_WRONLY | os.O_CLOEXEC)
        os.write(doorbell, suffix.encode("ascii"))
        if not _is_acknowledged(reader):
            os.close(reader)
            os.close(writer)
            raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED), address)
        return _connected(reader, writer)


def _is_acknowledged(reader: int) -> bool:
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    return bool(poll.poll(_CONNECT_SECONDS * 1000)) and os.read(reader, 1) == _ACKNOWLEDGE


def _connected(reader: int, writer: int) -> PipesConnection:
    os.set_blocking(reader, True)
    os.set_blocking(writer, True)
    return PipesConnection(reader, writer)


def _unlink(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)  # noqa: PTH108 - also while the interpreter ends


def _send(conn: Any, handle: int, destination_pid: int) -> None:
    if not isinstance(conn, PipesConnection):
        _send_handle(conn, handle, destination_pid)
        return
    conn.send((os.getpid(), handle))
    conn.recv()  # the descriptor is closed after this


def _receive(conn: Any) -> int:
    if not isinstance(conn, PipesConnection):
        received: int = _receive_handle(conn)
        return received
    process, number = conn.recv()
    try:
        descriptor = os.open(f"/proc/{process}/fd/{number}", _flags_of(process, number) | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise OSError(
                errno.ENXIO,
                "Sockets cannot be sent to another process of a confined model; pipes and files can.",
            ) from error
        raise
    finally:
        conn.send(None)
    return descriptor


def _flags_of(process: int, number: int) -> int:
    with open(f"/proc/{process}/fdinfo/{number}", encoding="ascii") as file:  # noqa: PTH123 - stands alone
        for line in file:
            if line.startswith("flags:"):
                return int(line.split()[1], 8) & os.O_ACCMODE
    return os.O_RDONLY


def _command_line_with_pipes(**keywords: Any) -> list[str]:
    command: list[str] = _command_line(**keywords)
    if "-c" in command:
        place = command.index("-c") + 1
        command[place] = _IN_CHILD.format(path=__file__) + command[place]
    return command


def _start_by_spawn(process: Any) -> Any:
    from multiprocessing import popen_spawn_posix  # noqa: PLC0415 - needed by few models

    return popen_spawn_posix.Popen(process)
