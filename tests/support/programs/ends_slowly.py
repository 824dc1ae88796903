"""Serve, but take an hour to close the pool of workers."""

import asyncio
import logging
import os
import sys

from gateway import settings
from gateway.server import supervisor
from workers.pool.pool import Pool


async def close_slowly(_: Pool, *, drain_seconds: float) -> None:
    """Stand for the pool's end."""
    logging.getLogger("gateway").info("closing for %g s and long after", drain_seconds)
    await asyncio.sleep(3600)


if __name__ == "__main__":
    Pool.close = close_slowly  # type: ignore[method-assign,assignment] # the fault
    sys.exit(supervisor.run(settings.load(os.environ), announce=lambda address: print(address, flush=True)))
