"""Find out what of the wall this kernel has, and what a model can still do without the rest."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from workers.wall import kernel, landlock, seccomp
from workers.wall.syscalls import MACHINES

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class WallSupport:
    """What this machine can do to confine a process.

    `landlock_abi` is 0 without Landlock. `missing` has a sentence for each thing that a model can still do.
    """

    landlock_abi: int
    seccomp: bool
    machine: str
    missing: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        return not self.missing

    @property
    def parts(self) -> str:
        """The parts that work, as words."""
        parts = [f"Landlock {self.landlock_abi}"] if self.landlock_abi else []
        parts += ["seccomp"] if self.seccomp else []
        return " and ".join(parts)

    @property
    def unix_sockets(self) -> bool:
        """Whether Landlock keeps sockets of other processes in the file system from a model."""
        return self.landlock_abi >= landlock.UNIX_SOCKET_ABI


@cache
def detect() -> WallSupport:
    """Ask the kernel, once: forks know the answer."""
    if sys.platform != "linux":
        return assess(0, seccomp=False, machine=sys.platform)
    machine = kernel.machine()
    return assess(landlock.abi(), seccomp=is_filter_available(machine), machine=machine)


def is_filter_available(machine: str) -> bool:
    """Return whether system calls can be filtered here."""
    return seccomp.is_available(machine)


def assess(landlock_abi: int, *, seccomp: bool, machine: str) -> WallSupport:
    """Return what these parts can do, and what is missing."""
    missing = (*_without_landlock(landlock_abi), *_without_filter(landlock_abi, seccomp, machine=machine))
    return WallSupport(landlock_abi, seccomp, machine, missing)


def _without_landlock(abi: int) -> Iterator[str]:
    if abi == 0:
        yield (
            f"{_why_no_landlock()}: a model can read and change every file of the gateway's user, read other "
            "processes of that user, and end or stop them"
        )
    elif abi < landlock.SCOPE_ABI:
        yield (
            f"Landlock {abi} does not limit signals (Linux 6.12 does): a model can end or stop processes of "
            "the gateway's user"
        )
    if 0 < abi < landlock.TCP_ABI:
        yield (
            f"Landlock {abi} does not limit ports (Linux 6.7 does): with GATEWAY_WORKER_NETWORK=all a model "
            "can listen on the gateway's port if GATEWAY_PROCESSES shares it"
        )


def _without_filter(abi: int, available: bool, *, machine: str) -> Iterator[str]:
    if available:
        return
    why = "seccomp is not available" if machine in MACHINES else f"seccomp rules exist for no {machine}"
    can = ["change modes and owners of that user's files"]
    if abi < landlock.UNIX_SOCKET_ABI:
        can.append("connect to local sockets")
    if 0 < abi < 3:
        can.append("empty that user's files")
    yield (
        f"{why}: a model can {', '.join(can)}, and GATEWAY_WORKER_NETWORK=none stops "
        f"{'TCP alone' if abi >= landlock.TCP_ABI else 'nothing'}"
    )


def _why_no_landlock() -> str:
    if sys.platform != "linux":
        return "only Linux has Landlock"
    if landlock.is_forbidden_here():
        return "this container's seccomp profile forbids Landlock"
    return "this kernel has no Landlock (Linux 5.13 and later, if it is among the boot parameter lsm=)"
