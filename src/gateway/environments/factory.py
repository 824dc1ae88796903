"""Builds the environments of this machine from the settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gateway.environments.builder import BuildOptions, EnvironmentBuilder
from gateway.environments.environments import Environments
from gateway.environments.lock import LockStore
from gateway.environments.preparation import EnvironmentPreparer
from gateway.environments.store import EnvironmentStore
from gateway.environments.uv import Uv
from gateway.system.programs import find_uv

if TYPE_CHECKING:
    from gateway.environments.preparation import VersionSource
    from gateway.settings import Settings
    from workers.metrics import Counters


def create_environments(settings: Settings, source: VersionSource, *, counters: Counters) -> Environments:
    """Return the environments; closed ones build nothing if the mode is off."""
    chosen = settings.environments
    store = EnvironmentStore(settings.environments_dir, max_bytes=chosen.max_bytes, counters=counters)
    longest = 2 * chosen.timeout_seconds
    locks = LockStore(
        store, approved=chosen.locks, exported=chosen.wheels, dated=chosen.as_logged, longest=longest
    )
    preparer = EnvironmentPreparer(
        source,
        mode=chosen.mode,
        locks=locks,
        wheels=store.wheels,
        pythons=chosen.pythons,
        environment=settings.environment,
    )
    return Environments(
        preparer,
        store=store,
        builder=create_builder(settings, store),
        locks=locks,
        seconds=chosen.timeout_seconds,
        counters=counters,
    )


def create_builder(settings: Settings, store: EnvironmentStore) -> EnvironmentBuilder:
    """Return the builder of environments in the store."""
    chosen = settings.environments
    uv = Uv(
        find_uv() or Path("uv"),
        settings.environment,
        netrc=settings.client_files.text("NETRC"),
        wall=settings.worker_wall,
        cache=store.uv_cache,
    )
    return EnvironmentBuilder(
        uv, BuildOptions(wheels=chosen.wheels, sdists=chosen.build_sdists, dated=chosen.as_logged)
    )
