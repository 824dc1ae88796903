"""`python light.py SECONDS PACE URL [BODY] …`: a polite client beside heavy ones; prints JSON.

For each pair of an address and a file (`-`: a GET) one connection asks, waits for the answer, and asks
again PACE seconds after it last asked. Printed: `[[p50 ms, p99 ms, requests], …]` in the order given.
"""

from __future__ import annotations

import http.client
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit


def main() -> None:
    """Ask all addresses at the same time."""
    seconds, pace, *pairs = sys.argv[1:]
    asked = list(zip(pairs[::2], pairs[1::2], strict=True))
    with ThreadPoolExecutor(len(asked)) as threads:
        futures = [threads.submit(ask, url, body, float(seconds), float(pace)) for url, body in asked]
        sys.stdout.write(json.dumps([summary(future.result()) for future in futures]) + "\n")


def ask(url: str, body: str, seconds: float, pace: float) -> list[float]:
    """The seconds that each request took. Raises RuntimeError where an answer is not a 200."""
    address = urlsplit(url)
    sent = None if body == "-" else Path(body).read_bytes()
    connection = http.client.HTTPConnection(address.netloc, timeout=60)
    times: list[float] = []
    ends = time.perf_counter() + seconds
    while (started := time.perf_counter()) < ends:
        connection.request(
            "GET" if sent is None else "POST", address.path, sent, {"Content-Type": "application/json"}
        )
        reply = connection.getresponse()
        reply.read()
        times.append(time.perf_counter() - started)
        if reply.status != 200:
            raise RuntimeError(f"{url} answered {reply.status}")
        time.sleep(max(0.0, pace - times[-1]))
    connection.close()
    return times


def summary(times: list[float]) -> tuple[float, float, int]:
    """The median and the 99th percentile in ms, and how many there were."""
    times.sort()
    return times[len(times) // 2] * 1e3, times[len(times) * 99 // 100] * 1e3, len(times)


if __name__ == "__main__":
    main()
