"""Builds the engine of one process from the settings."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.engines.downloads import DownloadLimiter
from gateway.engines.local import LocalEngine
from gateway.environments.factory import create_environments
from gateway.model_files.version_recipes import VersionRecipes
from gateway.settings import wall_policy
from gateway.settings.capacity import CurrentPoolLimits
from gateway.settings.devices import device_inventory
from gateway.settings.worker_environment import worker_environment
from workers.pool.pool import Pool

if TYPE_CHECKING:
    from gateway.artifacts.cache import ArtifactCache
    from gateway.catalog import Catalog
    from gateway.engines.engine import Engine
    from gateway.engines.transports.unix_address import UnixAddress
    from gateway.model_files.version_files import VersionFiles
    from gateway.settings import CurrentSettings
    from workers.answer_memory import AnswerMemory
    from workers.metrics import Counters


def create_engine(
    current: CurrentSettings,
    catalog: Catalog,
    artifacts: ArtifactCache,
    *,
    files: VersionFiles,
    answer_memory: AnswerMemory,
    counters: Counters,
    node: UnixAddress | None = None,
) -> Engine:
    """Return the engine that the settings name, or that of the process at `node`, which holds the models."""
    if node is None and current.value.fleet.engine == "local":
        return create_local_engine(
            current, catalog, artifacts, files=files, answer_memory=answer_memory, counters=counters
        )
    from gateway.engines.fleet import factory  # noqa: PLC0415 - its imports take time that others save

    if node is not None:
        return factory.create_engine_of_machine(node, current=current, catalog=catalog, counters=counters)
    return factory.create_engine_of_fleet(current=current, catalog=catalog, counters=counters)


def create_local_engine(
    current: CurrentSettings,
    catalog: Catalog,
    artifacts: ArtifactCache,
    *,
    files: VersionFiles,
    answer_memory: AnswerMemory,
    counters: Counters,
) -> LocalEngine:
    """Return an engine that loads models into workers of this process."""
    settings = current.value
    environments = create_environments(settings, VersionRecipes(catalog, artifacts, files), counters=counters)
    devices = device_inventory(settings)
    pool = Pool(
        CurrentPoolLimits(current),
        environment=worker_environment(settings, hide_devices=devices is not None),
        counters=counters,
        answer_memory=answer_memory,
        preload=settings.preload,
        devices=devices,
        wall=replace(wall_policy(settings), models=(str(artifacts.models_folder),)),
        on_environment_broken=environments.on_broken,
    )
    return LocalEngine(
        catalog,
        artifacts,
        files=files,
        pool=pool,
        environments=environments,
        download_limiter=DownloadLimiter(current),
        settings=current,
    )
