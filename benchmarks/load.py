"""Sends the same body over so many connections for so long: by wrk where it is, else by ourselves."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from pathlib import Path

_SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
local file = io.open("{body}", "rb")
wrk.body = file:read("*a")
done = function(summary, latency, requests)
  io.write(string.format("RESULT %d %d %d %f %f\\n", summary.requests, summary.duration,
    summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.write
    + summary.errors.timeout, latency:percentile(50), latency:percentile(99)))
end
"""
_RESULT = re.compile(r"RESULT (\d+) (\d+) (\d+) ([\d.]+) ([\d.]+)")


@dataclass(frozen=True, slots=True)
class Measured:
    """Requests per second, and the median and 99th percentile of the time that one took, in ms."""

    per_second: float
    p50: float
    p99: float


def measure(url: str, body: bytes, *, connections: int, seconds: float, folder: Path) -> Measured:
    """What the server at `url` does with `body`. Raises RuntimeError where an answer is not a 2xx."""
    if shutil.which("wrk"):
        return _by_wrk(url, body, connections=connections, seconds=seconds, folder=folder)
    return asyncio.run(_by_ourselves(url, body, connections=connections, seconds=seconds))


def driver() -> str:
    """What sends the load here."""
    return "wrk, one thread" if shutil.which("wrk") else "the bundled driver (wrk is not installed)"


def _by_wrk(url: str, body: bytes, *, connections: int, seconds: float, folder: Path) -> Measured:
    (folder / "body.bin").write_bytes(body)
    script = folder / "post.lua"
    script.write_text(_SCRIPT.format(body=folder / "body.bin"))
    command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}", "-s", str(script), url]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    match = _RESULT.search(output)
    if match is None:
        raise RuntimeError(f"wrk said nothing that is understood: {output[-500:]}")
    requests, microseconds, errors = (int(number) for number in match.groups()[:3])
    if errors:
        raise RuntimeError(f"{errors} of {requests} requests to {url} failed")
    return Measured(requests / microseconds * 1e6, float(match[4]) / 1e3, float(match[5]) / 1e3)


async def _by_ourselves(url: str, body: bytes, *, connections: int, seconds: float) -> Measured:
    address = urlsplit(url)
    head = (
        f"POST {address.path} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    times: list[float] = []
    ends = time.perf_counter() + seconds
    started = time.perf_counter()
    await asyncio.gather(
        *(
            _ask(address.hostname, address.port, head.encode() + body, ends=ends, times=times)
            for _ in range(connections)
        )
    )
    took = time.perf_counter() - started
    times.sort()
    return Measured(len(times) / took, times[len(times) // 2] * 1e3, times[len(times) * 99 // 100] * 1e3)


async def _ask(
    host: str | None, port: int | None, request: bytes, *, ends: float, times: list[float]
) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        while (started := time.perf_counter()) < ends:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: (\d+)", head)
            if not head.startswith(b"HTTP/1.1 2") or length is None:
                raise RuntimeError(f"not a 2xx with a length: {head[:200]!r}")
            await reader.readexactly(int(length[1]))
            times.append(time.perf_counter() - started)
    finally:
        writer.close()
