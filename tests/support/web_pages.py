"""Requests as web pages send them, to every route and for every kind of response."""

from __future__ import annotations

from typing import Final, NamedTuple

from gateway.api.routes import all_routes
from tests.support.gateways import BODY

ATTACKER: Final = "http://attacker.example:9000"
"""An origin that no setting of a test allows."""

PAGE: Final = {"Origin": ATTACKER, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
"""What Chromium sends with a request of a page, if the gateway is on loopback."""

SUMS: Final = "/model/api-sums/1/invocation"
STREAM: Final = "/model/api-streams/1/invocation?stream=true"

_ROWS: Final = 90_000
_LARGE: Final = b'{"dataframe_split":{"columns":["a","b"],"data":[%b]}}' % b",".join([b"[0.1,0.2]"] * _ROWS)
"""Its answer has 1.8 MB, and is sent in pieces."""


class Exchange(NamedTuple):
    """A request, and the status of its response."""

    method: str
    path: str
    status: int
    body: bytes | None = None
    headers: tuple[tuple[str, str], ...] = ()


EXCHANGES: Final = {
    "a prediction": Exchange("POST", SUMS, 200, BODY),
    "a stream": Exchange("POST", STREAM, 200, b'{"dataframe_records": [{"do": "say a"}]}'),
    "a large answer": Exchange("POST", SUMS, 200, _LARGE),
    "a large answer, compressed": Exchange("POST", SUMS, 200, _LARGE, (("Accept-Encoding", "gzip"),)),
    "a compressed document": Exchange("GET", "/openapi.json", 200, None, (("Accept-Encoding", "gzip"),)),
    "a head": Exchange("HEAD", "/openapi.json", 200),
    "a page": Exchange("GET", "/docs", 200),
    "a file": Exchange("GET", "/docs/start.js", 200),
    "a wrong body": Exchange("POST", SUMS, 400, b"{"),
    "an unknown model": Exchange("GET", "/model/nowhere", 404),
    "an unknown route": Exchange("GET", "/nowhere", 404),
    "a wrong method": Exchange("POST", "/version", 405, b""),
    "a body that is too large": Exchange("POST", SUMS, 413, b" " * 1_000_001),
    "a wrong type": Exchange("POST", SUMS, 415, BODY, (("Content-Type", "text/html"),)),
    "an error of V2": Exchange("POST", "/v2/models/api-sums/infer", 400, b"{"),
    "a foreign name": Exchange("POST", SUMS, 421, BODY, (("Host", "evil.example"),)),
}
"""For gateways with GATEWAY_MAX_BODY_BYTES=1000000."""


def example_routes() -> list[tuple[str, str]]:
    """Return the method and a path of every route; the models of the paths exist."""
    return [(route.method, _example_path(route.path)) for route in all_routes()]


def _example_path(path: str) -> str:
    for part, example in (("{name:[^/]+}", "api-sums"), ("{version:[^/]+}", "1"), ("{file}", "start.js")):
        path = path.replace(part, example)
    return path
