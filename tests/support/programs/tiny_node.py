"""A node agent for tests: it listens where its variables say, and tells each client what it was given."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path


def main() -> None:
    """Answer each connection with one JSON object."""
    file = os.environ.get("GATEWAY_FLEET_TOKEN_FILE")
    answer = {
        "pid": os.getpid(),
        "group": os.getpgid(0),
        "token": Path(file).read_text(encoding="utf-8") if file else None,
        "same_token_by_stdin": sys.stdin.read(),
        "environment": dict(os.environ),
    }
    address = os.environ["GATEWAY_NODE_HOST"], int(os.environ["GATEWAY_NODE_PORT"])
    with socket.create_server(address) as server:
        while True:
            connection, _ = server.accept()
            with connection:
                connection.sendall(json.dumps(answer).encode())


if __name__ == "__main__":
    main()
