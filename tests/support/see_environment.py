"""Prints as JSON what a worker sees of the environment; run as a program, by test_pool."""

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


async def main(folder: str) -> None:
    before = os.environ.get("A_SECRET")
    given = {name: value for name, value in os.environ.items() if name != "A_SECRET"} | {"GIVEN": "yes"}
    pool = Pool(PoolLimits, environment=given)
    await pool.open()
    try:
        await load(pool, KEY, folder)
        reply = await pool.predict(KEY, Job(b'{"dataframe_records":[{"do":"environ"}]}'))
        pids = await pool.predict(KEY, Job(b'{"dataframe_records":[{"do":"x"}]}'))
        first = orjson.loads(pids.body)[0]
        kernel = await asyncio.to_thread(Path(f"/proc/{first}/environ").read_bytes)
        psutil.Process(first).parent().kill()  # type: ignore[union-attr] # the fork server
        other = ModelKey("other", "1", "f")
        await load(pool, other, folder)
        pids = await pool.predict(other, Job(b'{"dataframe_records":[{"do":"x"}]}'))
        anew = await asyncio.to_thread(Path(f"/proc/{orjson.loads(pids.body)[0]}/environ").read_bytes)
    finally:
        await pool.close(drain_seconds=0)
    seen = {
        "before": before,
        "after": os.environ.get("A_SECRET"),
        "worker": orjson.loads(reply.body)[0],
        "kernel_shows_it": b"A_SECRET" in kernel,
        "next_template_shows_it": b"A_SECRET" in anew,
    }
    sys.stdout.write(orjson.dumps(seen).decode() + "\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
