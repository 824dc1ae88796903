"""Real pools with real worker processes, and tiny models that are saved once for the whole run."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import models
from workers.limits import PoolLimits
from workers.pool.pool import Pool
from workers.protocol.messages import Batching, ModelKey, ModelSource
from workers.wall.policy import WallPolicy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from workers.worker_environment import WorkerEnvironment


class Files:
    """The files of a model on this machine; counts how often they were leased and given back."""

    def __init__(
        self,
        key: ModelKey,
        folder: Path,
        *,
        batching: Batching = "auto",
        environment: WorkerEnvironment | None = None,
        gpu_share: int = 0,
    ) -> None:
        self.key = key
        self.gpu_share = gpu_share
        self.folder = folder
        self.batching = batching
        self.environment = environment
        self.entered = 0
        self.left = 0

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[ModelSource]:
        self.entered += 1
        try:
            yield ModelSource(
                self.key,
                str(self.folder),
                batching=self.batching,
                environment=self.environment,
                gpu_share=self.gpu_share,
            )
        finally:
            self.left += 1


class LiveLimits:
    """Limits that a test changes while a pool is open, by setting `value`."""

    def __init__(self, **values: float) -> None:
        self.set(**values)

    def set(self, **values: float) -> None:
        """Change the limits: the named ones get these values, all others their defaults."""
        self.value = PoolLimits(**values)  # type: ignore[arg-type] # each test gives the right types

    def __call__(self) -> PoolLimits:
        return self.value


async def load(pool: Pool, files: Files) -> None:
    """Load a model as the prediction service does: reserve a slot, lease the files, load."""
    if pool.is_loaded(files.key):
        return
    async with AsyncExitStack() as stack, pool.reserve(files.key) as reservation:
        await reservation.load(await stack.enter_async_context(files()), stack)


NO_WALL = WallPolicy("off")
"""For models that tell the test something by a file outside of their own folder."""


def key(name: str, fingerprint: str = "f") -> ModelKey:
    """Return the key of version 1 of a model."""
    return ModelKey(name, "1", fingerprint)


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folders of the saved models by name."""
    base = tmp_path_factory.mktemp("models")
    saved = {
        "sums": models.save(base / "sums", models.Sums(), signature=models.NUMBERS),
        "tens": models.save(base / "tens", models.Sums(10.0), signature=models.NUMBERS),
        "commands": models.save(base / "commands", models.Commands(), signature=models.COMMANDS),
        "device": models.save(base / "device", models.SeenDevice(), signature=models.COMMANDS),
        "streams": models.save(base / "streams", models.Streams(), signature=models.COMMANDS),
    }
    for how in ("raise", "import", "hang", "die"):
        saved[how] = models.save(base / how, models.Broken(how))
    return saved


@pytest.fixture
def files(folders: dict[str, Path]) -> Callable[[str], Files]:
    """A function that returns the files of the model with a name."""
    return lambda name: Files(key(name), folders[name])


@pytest.fixture
def opened() -> Callable[..., AbstractAsyncContextManager[Pool]]:
    """A function that opens a pool with the given limits and options; no process is left when it closes."""

    @asynccontextmanager
    async def open_pool(limits: LiveLimits | None = None, **values: Any) -> AsyncIterator[Pool]:
        fields = PoolLimits.__dataclass_fields__
        options = {name: value for name, value in values.items() if name not in fields}
        chosen = {name: value for name, value in values.items() if name in fields}
        pool = Pool(limits or LiveLimits(**chosen), **options)
        await pool.open()
        try:
            yield pool
        finally:
            await pool.close(drain_seconds=0)

    return open_pool
