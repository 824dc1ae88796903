"""How workers are confined, by the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workers.wall.policy import WallPolicy

if TYPE_CHECKING:
    from gateway.settings.schema import Settings


def wall_policy(settings: Settings) -> WallPolicy:
    """Return how workers are confined."""
    private = [settings.cache_dir]
    if not settings.environments_dir.is_relative_to(settings.cache_dir):
        private.append(settings.environments_dir)
    return WallPolicy(
        mode=settings.worker_wall,
        network=settings.worker_network,
        readable=tuple(str(folder) for folder in settings.worker_readable),
        private=tuple(map(str, private)),
    )
