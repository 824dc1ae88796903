"""The GPUs that models may have, by the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.system.environment import public_environment
from workers.devices.inventory import DeviceInventory

if TYPE_CHECKING:
    from gateway.settings.schema import Settings


def device_inventory(settings: Settings) -> DeviceInventory | None:
    """Return what finds the machine's GPUs; None if it can have none, or none are for models."""
    if settings.gpus == "off":
        return None
    inventory = DeviceInventory(public_environment(settings.environment))
    return inventory if inventory.available else None
