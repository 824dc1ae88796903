"""Send one body over many connections for some seconds: by wrk if installed, else by the bundled driver."""

from __future__ import annotations

import asyncio
import hashlib
import re
import shutil
import statistics
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks import driver

if TYPE_CHECKING:
    from collections.abc import Sequence
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
_LARGE = 2**20  # wrk leaves out what is under way when its time is up: much, where a request takes seconds


@dataclass(frozen=True, slots=True)
class Measured:
    """Requests per second, the median and 99th percentile of the ms that one took, and how many failed.

    `turns` is how many answers each connection had; `spread` that of several rounds: the most requests
    per second less the least, over the median.
    """

    per_second: float
    p50: float
    p99: float
    failed: int = 0
    turns: float = 0.0
    spread: float = 0.0


def measure(url: str, body: bytes, *, connections: int, seconds: float, folder: Path) -> Measured:
    """What the server at `url` does with `body`."""
    if shutil.which("wrk") and len(body) < _LARGE:
        return _by_wrk(url, body, connections=connections, seconds=seconds, folder=folder)
    driven = asyncio.run(driver.drive(url, body, connections=connections, seconds=seconds))
    return Measured(
        driven.per_second,
        driven.percentile(50),
        driven.percentile(99),
        driven.failed,
        len(driven.times) / connections,
    )


def named() -> str:
    """What sends the load here."""
    if shutil.which("wrk"):
        return "wrk with one thread (bodies over 1 MiB: the bundled driver)"
    return "the bundled driver (wrk is not installed)"


def median(measured: Sequence[Measured]) -> Measured:
    """The medians of several rounds, the failures of all, and how far the rounds lie apart."""
    speeds = [one.per_second for one in measured]
    per_second = statistics.median(speeds)
    return Measured(
        per_second,
        statistics.median(one.p50 for one in measured),
        statistics.median(one.p99 for one in measured),
        sum(one.failed for one in measured),
        min(one.turns for one in measured),
        (max(speeds) - min(speeds)) / per_second if per_second else 0.0,
    )


def _by_wrk(url: str, body: bytes, *, connections: int, seconds: float, folder: Path) -> Measured:
    script = _script(body, folder)
    command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}", "--timeout", "60"]
    output = subprocess.run(
        [*command, "-s", str(script), url], check=True, capture_output=True, text=True
    ).stdout
    match = _RESULT.search(output)
    if match is None:
        raise RuntimeError(f"wrk said nothing that is understood: {output[-500:]}")
    requests, microseconds, errors = (int(number) for number in match.groups()[:3])
    return Measured(
        requests / microseconds * 1e6,
        float(match[4]) / 1e3,
        float(match[5]) / 1e3,
        errors,
        requests / connections,
    )


def _script(body: bytes, folder: Path) -> Path:
    name = hashlib.sha256(body).hexdigest()[:16]
    script = folder / f"{name}.lua"
    if not script.exists():
        (folder / f"{name}.body").write_bytes(body)
        script.write_text(_SCRIPT.format(body=folder / f"{name}.body"))
    return script
