"""Finds a share of a GPU for a version that will be loaded, and evicts idle ones for it."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from cachetools import LRUCache

from workers.devices.shares import DeviceShares
from workers.errors import CapacityExceeded, ModelLoadError, PoolClosed

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AsyncExitStack

    from workers.devices.inventory import DeviceInventory
    from workers.devices.shares import DeviceClaim
    from workers.limits import PoolLimits
    from workers.pool.fairness import FairShare
    from workers.pool.slots import ModelSlots
    from workers.protocol.messages import ModelKey, ModelSource
    from workers.scheduler.worker_group import WorkerGroup

logger = logging.getLogger(__name__)

_MIB: Final = 2**20
_MEASURE_SECONDS: Final = 15.0
_FRESH_SECONDS: Final = 1.0  # a measurement that is younger is not repeated
_MAX_ENTRIES: Final = 10_000
_NO_DEVICE: Final = (
    "The model wants a GPU (its tag gateway.gpu), and this gateway has none for models: there is none on its"
    " machine, or GATEWAY_GPUS or GATEWAY_PROCESSES rules them out."
)


class DeviceAllocator:
    """An allocator of device shares. Without an inventory there are no devices."""

    def __init__(
        self,
        limits: Callable[[], PoolLimits],
        slots: ModelSlots,
        *,
        fair_share: FairShare,
        inventory: DeviceInventory | None,
    ) -> None:
        self._limits = limits
        self._slots = slots
        self._fair_share = fair_share
        self._inventory = inventory
        self._shares = DeviceShares()
        self._detecting: asyncio.Task[None] | None = None
        self._bytes_by_pid: dict[int, int] = {}
        self._bytes_of_model: LRUCache[ModelKey, int] = LRUCache(_MAX_ENTRIES)
        self._measured_at = float("-inf")
        self._measure_lock = asyncio.Lock()
        self._over_share: set[DeviceClaim] = set()

    @property
    def shares(self) -> DeviceShares:
        """The devices and who has them."""
        return self._shares

    def open(self) -> None:
        """Begin to look for devices, so that the first model that wants one need not wait for it."""
        if self._inventory is not None and self._inventory.available:
            self._detecting = asyncio.create_task(self._detect(), name="look for GPUs")

    async def close(self) -> None:
        """End the look for devices."""
        if self._detecting is not None:
            self._detecting.cancel()
            await asyncio.gather(self._detecting, return_exceptions=True)

    async def claim(self, source: ModelSource, held: AsyncExitStack) -> ModelSource:
        """Return the source with a device that its share is on, until `held` closes.

        A model that wants no device is returned as it is. The models evicted for it are idle ones that have a
        device, and that may be evicted for its owner. Raise ModelLoadError if there is no device at all,
        CapacityExceeded if none is free within the time of a request, and PoolClosed.
        """
        if not source.gpu_share:
            return source
        await self._require_devices()
        claim: DeviceClaim | None = None
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits().request_seconds):
                while not self._slots.closed and (claim := await self._try_claim(source)) is None:
                    await self._make_room(source)
        if claim is None:
            if self._slots.closed:
                raise PoolClosed("The gateway is shutting down.")
            raise self._all_taken()
        held.callback(self._release, claim)
        return replace(source, device=claim.device.uuid)

    def memory_bytes(self, group: WorkerGroup) -> int | None:
        """Return the device memory of a group's workers when last measured; None if that is not known."""
        known = [self._bytes_by_pid[pid] for pid in group.pids if pid in self._bytes_by_pid]
        return sum(known) if known else None

    async def measure_forever(self) -> None:
        """Measure the devices' memory at intervals while models have devices, until cancelled."""
        while True:
            if self._shares.claims:
                await self.measure()
            await asyncio.sleep(_MEASURE_SECONDS)

    async def measure(self) -> None:
        """Measure the memory of all devices and of the models on them, unless that was just done."""
        async with self._measure_lock:
            if self._inventory is None or time.monotonic() - self._measured_at < _FRESH_SECONDS:
                return
            self._shares.memory = await self._inventory.memory()
            self._bytes_by_pid = await self._inventory.memory_by_pid()
            self._measured_at = time.monotonic()
        for claim in self._shares.claims:
            entry = self._slots.loaded.get(claim.key)
            if entry is not None and (size := self.memory_bytes(entry.group)) is not None:
                self._bytes_of_model[claim.key] = size
                self._warn_if_over_share(claim, size)

    async def _detect(self) -> None:
        if self._inventory is not None:
            self._shares.devices = await self._inventory.devices()
            names = [f"{device.name} ({device.uuid})" for device in self._shares.devices]
            logger.info(
                "GPUs for models: %s",
                ", ".join(names) or "none",
                extra={"event": "gpus_found", "devices": [device.uuid for device in self._shares.devices]},
            )

    async def _require_devices(self) -> None:
        if self._detecting is not None and self._detecting.done() and not self._shares.devices:
            self.open()  # the driver may have started since
        if self._detecting is not None:
            await asyncio.shield(self._detecting)
        if not self._shares.devices:
            raise ModelLoadError(_NO_DEVICE)

    async def _try_claim(self, source: ModelSource) -> DeviceClaim | None:
        self._slots.changed.clear()
        if need := self._bytes_of_model.get(source.key, 0):
            await self.measure()
        return self._shares.claim(source.key, source.gpu_share, need_bytes=need)

    async def _make_room(self, source: ModelSource) -> None:
        """Evict an idle model that has a device, or wait until anything changes."""
        owner = self._slots.owner(source.key)
        groups = self._fair_share.victims(source.key, owner, shortage="capacity")
        evictable = [key for group in groups for key in group]
        devices = self._shares.devices_to_free(source.gpu_share, evictable)
        for group in groups:
            victims = {
                claim.key
                for device in devices
                for claim in self._shares.on(device)
                if claim.key in group and claim.key in self._slots.loaded
            }
            if (victim := self._slots.least_recently_used(victims)) is not None:
                await asyncio.wait([self._slots.evict(victim, "device")])
                self._measured_at = float("-inf")
                return
        if all(claim.key in self._slots.pinned for claim in self._shares.claims) and self._shares.claims:
            raise self._all_taken()
        await self._slots.changed.wait()

    def _all_taken(self) -> CapacityExceeded:
        count = len(self._shares.devices)
        return CapacityExceeded(
            f"The model wants a GPU, and the models on the {count} of this gateway are busy, or stay loaded."
        )

    def _release(self, claim: DeviceClaim) -> None:
        self._shares.release(claim)
        self._over_share.discard(claim)
        self._slots.changed.set()

    def _warn_if_over_share(self, claim: DeviceClaim, size: int) -> None:
        """Log, once for each load, that a model uses more of a device's memory than its share."""
        memory = self._shares.memory.get(claim.device.uuid)
        if memory is None or claim in self._over_share or size * 1000 <= memory.total_bytes * claim.share:
            return
        self._over_share.add(claim)
        logger.warning(
            "Model %s uses %d MiB of its GPU, which is more than its share of %g",
            claim.key,
            size // _MIB,
            claim.share / 1000,
            extra={"event": "gpu_share_exceeded", "model": str(claim.key), "used_bytes": size},
        )
