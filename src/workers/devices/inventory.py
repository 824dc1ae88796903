"""The GPUs of this machine and their memory, as `nvidia-smi` reports them.

It is asked in a process of its own. NVIDIA's libraries, which it uses, would run in the gateway's process
otherwise, and a driver that hangs would hang the gateway.
"""

from __future__ import annotations

import asyncio
import logging
import re
import shutil
from asyncio.subprocess import DEVNULL, PIPE
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

logger = logging.getLogger(__name__)

VISIBLE_DEVICES: Final = "CUDA_VISIBLE_DEVICES"
"""The variable that says which devices the CUDA libraries of a process may use."""

_PROGRAM: Final = "nvidia-smi"
_TIMEOUT_SECONDS: Final = 20.0  # a driver without persistence takes seconds to start
_KILL_SECONDS: Final = 2.0
_MAX_OUTPUT_BYTES: Final = 2**20
_MIB: Final = 2**20
_DEVICE: Final = re.compile(r"\s*(GPU|MIG) (.*)\(UUID: ((?:GPU|MIG)-[0-9A-Za-z/-]+)\)\s*")
_ORDINAL: Final = re.compile(r"\d+: ")
_MEMORY_QUERY: Final = ("--query-gpu=uuid,memory.total,memory.used", "--format=csv,noheader,nounits")
_PROCESS_QUERY: Final = ("--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits")


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU, or a slice of one (MIG), by the UUID that CUDA knows it by."""

    uuid: str
    name: str


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    """Bytes of a device's memory: all, and those in use by any program."""

    total_bytes: int
    used_bytes: int


class DeviceInventory:
    """A reader of the machine's devices; `environment` is that of the programs which it starts."""

    def __init__(self, environment: Mapping[str, str], *, timeout_seconds: float = _TIMEOUT_SECONDS) -> None:
        self._environment = dict(environment)
        self._timeout_seconds = timeout_seconds
        self._program = shutil.which(_PROGRAM, path=environment.get("PATH"))

    @property
    def available(self) -> bool:
        """Whether this machine has the program that knows its devices."""
        return self._program is not None

    async def devices(self) -> tuple[Device, ...]:
        """Return the devices that models may use: those in the environment's CUDA_VISIBLE_DEVICES, if set."""
        listed = parse_devices(await self._ask("-L"))
        chosen = self._environment.get(VISIBLE_DEVICES)
        return listed if chosen is None else select_visible(listed, chosen)

    async def memory(self) -> dict[str, DeviceMemory]:
        """Return the memory of each device that reports it, by UUID; slices (MIG) do not."""
        rows = _rows(await self._ask(*_MEMORY_QUERY))
        return {
            uuid: DeviceMemory(int(total) * _MIB, int(used) * _MIB)
            for uuid, total, used in (row for row in rows if len(row) == 3)
            if total.isdecimal() and used.isdecimal()
        }

    async def memory_by_pid(self) -> dict[int, int]:
        """Return the bytes of device memory that processes use, by process id as this system counts them."""
        rows = _rows(await self._ask(*_PROCESS_QUERY))
        return {
            int(pid): int(used) * _MIB
            for pid, used in (row for row in rows if len(row) == 2)
            if pid.isdecimal() and used.isdecimal()
        }

    async def _ask(self, *arguments: str) -> str:
        """Return what the program prints; empty, and a line in the log, if it fails or hangs."""
        if self._program is None:
            return ""
        problem = ""
        try:
            process = await asyncio.create_subprocess_exec(
                self._program, *arguments, env=self._environment, stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL
            )
        except OSError as error:
            problem = f"it did not start: {error.strerror}"
        else:
            try:
                async with asyncio.timeout(self._timeout_seconds):
                    output = await _read_all(process)
                    status = await process.wait()
            except TimeoutError:
                problem = f"no answer within {self._timeout_seconds:g} s"
            else:
                if status == 0:
                    return output
                problem = f"exit status {status}"
            finally:
                await _end(process)
        logger.warning("nvidia-smi %s failed: %s", arguments[0], problem, extra={"event": "gpu_query_failed"})
        return ""


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill a process; one that hangs in its driver may not end now, and is not waited for."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.kill()
        with suppress(TimeoutError):
            async with asyncio.timeout(_KILL_SECONDS):
                await process.wait()


async def _read_all(process: asyncio.subprocess.Process) -> str:
    if process.stdout is None:
        return ""
    output = await process.stdout.read(_MAX_OUTPUT_BYTES)
    while len(output) < _MAX_OUTPUT_BYTES and (more := await process.stdout.read(_MAX_OUTPUT_BYTES)):
        output += more
    return output.decode(errors="replace")


def parse_devices(listing: str) -> tuple[Device, ...]:
    """Return the devices of `nvidia-smi -L`; of a GPU that is divided (MIG), its slices."""
    devices: list[Device] = []
    parent: Device | None = None
    for line in listing.splitlines():
        if (match := _DEVICE.fullmatch(line)) is None:
            continue
        kind, text, uuid = match.groups()
        if kind == "GPU":
            parent = Device(uuid, _ORDINAL.sub("", text, count=1).strip())
            devices.append(parent)
            continue
        if parent is not None and devices[-1] is parent:  # CUDA cannot use it as a whole
            devices.pop()
        devices.append(
            Device(uuid, f"{parent.name if parent else 'GPU'}, {' '.join(text.split())}".strip(": "))
        )
    return tuple(devices)


def select_visible(devices: Sequence[Device], chosen: str) -> tuple[Device, ...]:
    """Return the devices that a value of CUDA_VISIBLE_DEVICES names: numbers from 0, or UUIDs' beginnings.

    As for CUDA, the list ends at the first name that no device has. Numbers are in the order of `nvidia-smi`.
    """
    visible: list[Device] = []
    for word in filter(None, (part.strip() for part in chosen.split(","))):
        if word.isdecimal():
            found = devices[int(word)] if len(word) < 5 and int(word) < len(devices) else None
        else:
            found = next((device for device in devices if device.uuid.startswith(word)), None)
        if found is None:
            break
        if found not in visible:
            visible.append(found)
    return tuple(visible)


def _rows(output: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split(",")] for line in output.splitlines()]
