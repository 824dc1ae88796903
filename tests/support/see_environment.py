"""Print as JSON what a worker sees of the environment. A program, which `test_pool` runs."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import orjson
import psutil

from workers.limits import PoolLimits
from workers.pool.pool import Pool
from workers.protocol.messages import Job, ModelKey, ModelSource

KEY = ModelKey("commands", "1", "f")


async def load(pool: Pool, key: ModelKey, folder: str) -> None:
    async with pool.reserve(key) as reservation:
        await reservation.load(ModelSource(key, folder), AsyncExitStack())


async def worker_pid(pool: Pool, key: ModelKey) -> int:
    """Return the process id that a `Commands` model answers."""
    reply = await pool.predict(key, Job(b'{"dataframe_records":[{"do":"x"}]}'))
    return int(orjson.loads(reply.body)[0])


async def kernel_environment(pid: int) -> bytes:
    """Return the environment with which the kernel started a process."""
    return await asyncio.to_thread(Path(f"/proc/{pid}/environ").read_bytes)


async def main(folder: str) -> None:
    before = os.environ.get("A_SECRET")
    environment = {name: value for name, value in os.environ.items() if name != "A_SECRET"}
    pool = Pool(PoolLimits, environment=environment | {"GIVEN": "yes"})
    await pool.open()
    try:
        await load(pool, KEY, folder)
        reply = await pool.predict(KEY, Job(b'{"dataframe_records":[{"do":"environ"}]}'))
        pid = await worker_pid(pool, KEY)
        kernel_view = await kernel_environment(pid)
        psutil.Process(pid).parent().kill()  # type: ignore[union-attr] # the fork server
        other = ModelKey("other", "1", "f")
        await load(pool, other, folder)
        next_kernel_view = await kernel_environment(await worker_pid(pool, other))
    finally:
        await pool.close(drain_seconds=0)
    seen = {
        "before": before,
        "after": os.environ.get("A_SECRET"),
        "worker": orjson.loads(reply.body)[0],
        "kernel_shows_it": b"A_SECRET" in kernel_view,
        "next_template_shows_it": b"A_SECRET" in next_kernel_view,
    }
    sys.stdout.write(orjson.dumps(seen).decode() + "\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
