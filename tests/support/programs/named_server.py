"""An HTTP server that answers every request with its own port and the path that it got: `PORT`, 0 for any.

It writes its port to standard output.
"""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import cast


class Handler(BaseHTTPRequestHandler):
    """A handler of GET and POST; connections stay open, as those of a gateway do."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # a body may follow its head at once

    def do_GET(self) -> None:
        """Answer with the port of the server and the path."""
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        port = cast("ThreadingHTTPServer", self.server).server_port
        body = json.dumps([port, self.path]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - the name is the library's

    def log_message(self, *_: object) -> None:
        """Write nothing."""


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()
