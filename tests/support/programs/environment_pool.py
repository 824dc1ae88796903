"""A process with a pool whose model is in an environment: it reports the load, and waits to be killed.

Arguments: the model's folder, and the environment's interpreter.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from pathlib import Path

from tests.support import environments
from workers.limits import PoolLimits
from workers.pool.pool import Pool
from workers.protocol.messages import ModelKey, ModelSource
from workers.worker_environment import WorkerEnvironment


async def run(folder: Path, python: str) -> None:
    """Load the model, print the process ids, and wait."""
    source = ModelSource(ModelKey("m", "1", "f"), str(folder), environment=WorkerEnvironment("e", python))
    pool = Pool(PoolLimits, wall=environments.wall(folder), fork_timeout_seconds=600.0)
    await pool.open()
    async with AsyncExitStack() as files, pool.reserve(source.key) as reservation:
        await reservation.load(source, files)
    print(json.dumps([server.pid for server in pool._environments.servers()]), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1]), sys.argv[2]))
