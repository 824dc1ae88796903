"""Tasks that belong together."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def unwrapping_task_group() -> AsyncIterator[asyncio.TaskGroup]:
    """A task group whose first failure is raised as itself, the others having been ended by it."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
