"""Serve, but take an hour to close the pool of workers."""

import asyncio
import logging
import os
import sys

from gateway import settings
from gateway.server import supervisor
from workers.pool.pool import Pool


async def close_slowly(_: Pool, *, drain_seconds: float) -> None:
    """Log that the pool closes, and hang."""
    logging.getLogger("gateway").info(
        "Closing the pool within %g s", drain_seconds, extra={"event": "pool_closing"}
    )
    await asyncio.sleep(3600)


if __name__ == "__main__":
    Pool.close = close_slowly  # type: ignore[method-assign,assignment] # the fault
    sys.exit(supervisor.run(settings.load(os.environ), announce=lambda address: print(address, flush=True)))
