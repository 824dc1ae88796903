"""Who has which share of which device, in thousandths."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workers.devices.inventory import Device, DeviceMemory
    from workers.protocol.messages import ModelKey

WHOLE: Final = 1_000
"""The shares of one device."""


class DeviceClaim:
    """A model's share of one device. Two loads of one model have a claim each."""

    def __init__(self, key: ModelKey, device: Device, share: int) -> None:
        self.key = key
        self.device = device
        self.share = share


class DeviceShares:
    """The shares of all devices, and the memory in use when it was last measured."""

    def __init__(self) -> None:
        self.devices: tuple[Device, ...] = ()
        self.memory: dict[str, DeviceMemory] = {}
        self.claims: list[DeviceClaim] = []

    def taken(self, device: Device) -> int:
        """Return the thousandths of a device that models have."""
        return sum(claim.share for claim in self.claims if claim.device == device)

    def on(self, device: Device) -> list[DeviceClaim]:
        """Return the claims on a device."""
        return [claim for claim in self.claims if claim.device == device]

    def claim(self, key: ModelKey, share: int, *, need_bytes: int = 0) -> DeviceClaim | None:
        """Take a share of a device with room for it and for `need_bytes` of memory; None if there is none.

        The fullest such device gives it, so that others stay free for models that need a whole one.
        """
        fitting = [
            device
            for device in self.devices
            if self.taken(device) + share <= WHOLE and self._has_memory(device, need_bytes)
        ]
        if not fitting:
            return None
        claim = DeviceClaim(key, max(fitting, key=self.taken), share)
        self.claims.append(claim)
        return claim

    def release(self, claim: DeviceClaim) -> None:
        """Give a share back."""
        self.claims.remove(claim)

    def devices_to_free(self, share: int, evictable: Sequence[ModelKey]) -> list[Device]:
        """Return the devices that would have a share free if the models `evictable` were evicted there."""
        return [
            device
            for device in self.devices
            if any(claim.key in evictable for claim in self.on(device))
            and sum(claim.share for claim in self.on(device) if claim.key not in evictable) + share <= WHOLE
        ]

    def _has_memory(self, device: Device, need_bytes: int) -> bool:
        memory = self.memory.get(device.uuid)
        return memory is None or memory.used_bytes + need_bytes <= memory.total_bytes
