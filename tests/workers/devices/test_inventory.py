"""Proves what is read from `nvidia-smi`, played here by a program that prints what the real one does."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.support.played_gpus import FIRST, MIB, SECOND, PlayedGpus
from workers.devices.inventory import Device, DeviceInventory, DeviceMemory, parse_devices, select_visible

if TYPE_CHECKING:
    from pathlib import Path

DIVIDED = """GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77)
  MIG 1g.5gb      Device  0: (UUID: MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f)
  MIG 3g.20gb     Device  1: (UUID: MIG-GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77/7/0)
GPU 1: NVIDIA T4 (UUID: GPU-11111111-aaaa-bbbb-cccc-000000000001)
"""
TWO = (Device(FIRST, "a"), Device(SECOND, "b"))


def inventory(gpus: PlayedGpus, *, timeout_seconds: float = 60.0, **variables: str) -> DeviceInventory:
    """Return a reader that finds the played program first."""
    path = gpus.path(os.environ.get("PATH", ""))
    return DeviceInventory({"PATH": path, **variables}, timeout_seconds=timeout_seconds)


async def test_devices_and_their_memory(tmp_path: Path) -> None:
    """Devices have the UUIDs and names that are listed, and memory in bytes."""
    gpus = PlayedGpus(tmp_path, FIRST, SECOND)
    gpus.use_memory({SECOND: 300})
    gpus.use_by_process({17: 250})
    reader = inventory(gpus)
    assert reader.available
    assert await reader.devices() == (
        Device(FIRST, "NVIDIA Played 16GB"),
        Device(SECOND, "NVIDIA Played 16GB"),
    )
    assert await reader.memory() == {
        FIRST: DeviceMemory(16_000 * MIB, 0),
        SECOND: DeviceMemory(16_000 * MIB, 300 * MIB),
    }
    assert await reader.memory_by_pid() == {17: 250 * MIB}


def test_of_a_divided_device_its_slices_count() -> None:
    """CUDA cannot use a GPU that is divided, but each slice of it by UUID, of the old form too."""
    assert [(device.uuid, device.name) for device in parse_devices(DIVIDED)] == [
        ("MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f", "NVIDIA A100-SXM4-40GB, 1g.5gb Device 0"),
        ("MIG-GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77/7/0", "NVIDIA A100-SXM4-40GB, 3g.20gb Device 1"),
        (FIRST, "NVIDIA T4"),
    ]


@pytest.mark.parametrize(
    ("chosen", "uuids"),
    [
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("1", [SECOND]),
        ("1,0", [SECOND, FIRST]),
        ("0,7,1", [FIRST]),
        ("GPU-2222", [SECOND]),
        ("GPU-2222, GPU-2222", [SECOND]),
        ("99999999999999999999", []),
    ],
)
def test_the_variable_narrows_the_devices(chosen: str, uuids: list[str]) -> None:
    """CUDA_VISIBLE_DEVICES means what it means to CUDA: the list ends at a name that no device has."""
    assert [device.uuid for device in select_visible(TWO, chosen)] == uuids


async def test_the_gateways_own_variable_counts(tmp_path: Path) -> None:
    """An operator who shows the gateway one device has models use that one alone."""
    gpus = PlayedGpus(tmp_path, FIRST, SECOND)
    assert [device.uuid for device in await inventory(gpus, CUDA_VISIBLE_DEVICES="1").devices()] == [SECOND]


async def test_a_program_that_fails_or_hangs_means_no_devices(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is raised and nothing waits longer than the limit; the log has the reason."""
    gpus = PlayedGpus(tmp_path, FIRST)
    gpus.write("status", "9")
    assert await inventory(gpus).devices() == ()
    gpus.write("status", "0")
    gpus.write("seconds", "300")
    assert await inventory(gpus, timeout_seconds=0.2).devices() == ()
    reasons = [record.getMessage() for record in caplog.records if record.name == "workers.devices.inventory"]
    assert reasons == [
        "nvidia-smi -L failed: exit status 9",
        "nvidia-smi -L failed: no answer within 0.2 s",
    ]


async def test_what_is_no_list_is_no_device(tmp_path: Path) -> None:
    """A driver that answers in words, or with figures it does not have, gives no devices and no memory."""
    gpus = PlayedGpus(tmp_path, FIRST)
    gpus.write("list", "No devices were found\n")
    gpus.write("memory", f"{FIRST}, [N/A], [N/A]\nbroken\n")
    gpus.write("processes", "[Not Supported]\n-5, 3\n")
    reader = inventory(gpus)
    assert await reader.devices() == ()
    assert await reader.memory() == {}
    assert await reader.memory_by_pid() == {}


async def test_a_machine_without_the_program_has_no_devices(tmp_path: Path) -> None:
    """Nothing is started there."""
    reader = DeviceInventory({"PATH": str(tmp_path)})
    assert not reader.available
    assert await reader.devices() == ()
