"""A script that opens an artifact cache, takes one lease, reports it and holds it until it is released.

Standard input: one JSON line `{"environment": …, "name": …, "uri": …}`, then a line to release the lease.
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


def peak_memory() -> int:
    """Return the peak memory of this process in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


async def main() -> None:
    request = json.loads(sys.stdin.readline())
    settings = load(request["environment"])

    async def locate() -> str:
        return str(request["uri"])

    async with MlflowClient(settings.mlflow) as client:
        cache = ArtifactCache(settings, client)
        await cache.open()
        sys.stdout.write("open\n")
        sys.stdout.flush()
        before = peak_memory()
        async with cache.lease(ModelKey(request["name"], "1", "f"), locate) as folder:
            report = {"folder": str(folder), "memory_growth": peak_memory() - before}
            sys.stdout.write(json.dumps(report) + "\n")
            sys.stdout.flush()
            await asyncio.to_thread(sys.stdin.readline)
        await cache.close()


if __name__ == "__main__":
    asyncio.run(main())
