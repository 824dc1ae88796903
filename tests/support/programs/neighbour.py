"""Be a process beside a confined one: with a secret, sockets, shared memory and semaphores of its own."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import sys
import threading
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

IPC_PRIVATE_KEY = 0x77A11
SIGNALS = (signal.SIGURG, 64)


def main() -> None:
    """Set everything up, print where it is, and wait for the end of standard input."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # they stay pending, and can be asked for
    folder = Path(sys.argv[1])
    stream, datagram = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    abstract = socket.socket(socket.AF_UNIX)
    stream.bind(str(folder / "stream"))
    datagram.bind(str(folder / "datagram"))
    name = f"wall-{os.getpid()}"
    abstract.bind(f"\0{name}")
    for listener in (stream, abstract):
        listener.listen()
        threading.Thread(target=greet, args=(listener,), daemon=True).start()
    shared = socket.socket()
    shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    shared.bind(("127.0.0.1", 0))
    shared.listen()
    memory = SharedMemory(f"wall-{os.getpid()}", create=True, size=64)
    assert memory.buf is not None
    memory.buf[:6] = b"secret"
    library = ctypes.CDLL(None)
    segment = library.shmget(IPC_PRIVATE_KEY, 4096, 0o1600)
    secret = ctypes.create_string_buffer(b"secret of the neighbour")
    reader, writer = os.pipe()
    os.write(writer, b"secret")
    found = {
        "pid": os.getpid(),
        "abstract": name,
        "port": shared.getsockname()[1],
        "pipe": reader,
        "memory": memory.name,
        "key": IPC_PRIVATE_KEY,
        "address": ctypes.addressof(secret),
    }
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()
    for _ in sys.stdin:
        sys.stdout.write(json.dumps(sorted(signal.sigpending())) + "\n")
        sys.stdout.flush()
    library.shmctl(segment, 0, None)  # IPC_RMID
    memory.close()
    memory.unlink()


def greet(listener: socket.socket) -> None:
    """Answer each connection with the secret."""
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"secret")


if __name__ == "__main__":
    main()
