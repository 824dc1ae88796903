"""Another gateway process's cache, as a script: takes one lease, tells of it, holds it until told.

Standard input: one JSON line `{"environment": …, "name": …, "uri": …}`, then a line to release.
Standard output: `open` when the cache is open, then one JSON line about the lease.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from gateway.artifacts.cache import ArtifactCache
from gateway.mlflow_client import MlflowClient
from gateway.settings import load
from workers.protocol.messages import ModelKey


def peak() -> int:
    """The most bytes of memory that this process ever had."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


async def main() -> None:
    order = json.loads(sys.stdin.readline())
    settings = load(order["environment"])

    async def locate() -> str:
        return str(order["uri"])

    async with MlflowClient(settings.mlflow) as client:
        cache = ArtifactCache(settings, client)
        await cache.open()
        sys.stdout.write("open\n")
        sys.stdout.flush()
        before = peak()
        async with cache.lease(ModelKey(order["name"], "1", "f"), locate) as folder:
            told = {"folder": str(folder), "grown": peak() - before}
            sys.stdout.write(json.dumps(told) + "\n")
            sys.stdout.flush()
            await asyncio.to_thread(sys.stdin.readline)
        await cache.close()


if __name__ == "__main__":
    asyncio.run(main())
