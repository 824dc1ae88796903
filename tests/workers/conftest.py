"""Real pools over real processes, with tiny models saved once for all."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from tests.support import models
from workers.limits import PoolLimits, Preload
from workers.pool.pool import Pool
from workers.protocol.messages import Batching, ModelKey, ModelSource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path


class Files:
    """A folder as the pool is given it; counts how often it was entered and left."""

    def __init__(self, key: ModelKey, folder: Path, *, batching: Batching = "auto") -> None:
        self.key = key
        self.folder = folder
        self.batching = batching
        self.entered = 0
        self.left = 0

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[ModelSource]:
        self.entered += 1
        try:
            yield ModelSource(self.key, str(self.folder), batching=self.batching)
        finally:
            self.left += 1


def key(name: str, fingerprint: str = "f") -> ModelKey:
    """Version 1 of a model."""
    return ModelKey(name, "1", fingerprint)


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The saved models by name."""
    base = tmp_path_factory.mktemp("models")
    saved = {
        "sums": models.save(base / "sums", models.Sums(), signature=models.NUMBERS),
        "tens": models.save(base / "tens", models.Sums(10.0), signature=models.NUMBERS),
        "commands": models.save(base / "commands", models.Commands(), signature=models.COMMANDS),
        "streams": models.save(base / "streams", models.Streams(), signature=models.COMMANDS),
    }
    for how in ("raise", "import", "hang", "die"):
        saved[how] = models.save(base / how, models.Broken(how))
    return saved


@pytest.fixture
def files(folders: dict[str, Path]) -> Callable[[str], Files]:
    """The files of a model saved under a name."""
    return lambda name: Files(key(name), folders[name])


@pytest.fixture
def opened() -> Callable[..., AbstractAsyncContextManager[Pool]]:
    """A pool, open; closed with no process left."""

    @asynccontextmanager
    async def open_pool(
        *, preload: Preload = "full", fork_timeout_seconds: float = 60.0, **limits: float
    ) -> AsyncIterator[Pool]:
        pool = Pool(
            PoolLimits(**limits),  # type: ignore[arg-type] # each test gives the right kind
            preload=preload,
            fork_timeout_seconds=fork_timeout_seconds,
        )
        await pool.open()
        try:
            yield pool
        finally:
            await pool.close(drain_seconds=0)

    return open_pool
