"""Proves what the filter decides about system calls, for both machines, by running its program."""

from __future__ import annotations

import errno
import re
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.workers.wall import interpreter
from workers.wall import bpf, seccomp
from workers.wall.syscalls import MACHINES

if TYPE_CHECKING:
    from collections.abc import Iterator

ALLOWED, NOTHING = bpf.ALLOW, bpf.NOTHING
POINTER: Final = 0x7F00_0000_1000
HIGH: Final = 1 << 32  # what the kernel does not look at in an int
UNIX, INET, INET6, NETLINK = 1, 2, 10, 16
STREAM, DATAGRAM, NON_BLOCKING = 1, 2, 0o4000
HEADERS: Final = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}


def denied(name: str) -> int:
    return bpf.error(getattr(errno, name))


CASES: Final = [
    ("ptrace", (), denied("EPERM")),
    ("process_vm_writev", (), denied("EPERM")),
    ("pidfd_getfd", (), denied("EPERM")),
    ("open_by_handle_at", (), denied("EPERM")),
    ("clone3", (), denied("ENOSYS")),
    ("io_uring_setup", (), denied("ENOSYS")),
    ("inotify_init1", (), denied("ENOSYS")),
    ("shmat", (), denied("ENOSYS")),
    ("mq_open", (), denied("ENOSYS")),
    ("fchmodat", (), NOTHING),
    ("fchownat", (), NOTHING),
    ("fchmodat2", (), NOTHING),
    ("setxattr", (), denied("EOPNOTSUPP")),
    ("truncate", (), ALLOWED),
    ("socket", (INET, STREAM, 0), ALLOWED),
    ("socket", (INET | HIGH, STREAM | HIGH, 6 | HIGH), ALLOWED),
    ("socket", (INET6, DATAGRAM, 17), ALLOWED),
    ("socket", (INET, STREAM, 132), denied("EPROTONOSUPPORT")),
    ("socket", (NETLINK, 3, 0), ALLOWED),
    ("socket", (NETLINK, 3, 9), denied("EPROTONOSUPPORT")),
    ("socket", (UNIX, STREAM, 0), denied("EACCES")),
    ("socket", (UNIX | HIGH, STREAM, 0), denied("EACCES")),
    ("socket", (17, 3, 0), denied("EAFNOSUPPORT")),
    ("socket", (38, 5, 0), denied("EAFNOSUPPORT")),
    ("socketpair", (UNIX, STREAM | NON_BLOCKING, 0), ALLOWED),
    ("socketpair", (UNIX, DATAGRAM, 0), denied("EACCES")),
    ("socketpair", (UNIX, 3 | NON_BLOCKING, 0), denied("EACCES")),
    ("socketpair", (30, STREAM, 0), denied("EAFNOSUPPORT")),
    ("clone", (0x3D0F00,), ALLOWED),  # a thread of the C library
    ("clone", (0x4111,), ALLOWED),  # vfork of subprocess
    ("clone", (0x10000000 | 17,), denied("EPERM")),
    ("clone", (0x8000 | 17,), denied("EPERM")),
    ("kill", (1234, 9), ALLOWED),
    ("kill", (-1, 9), denied("EPERM")),
    ("kill", (0xFFFFFFFF, 9), denied("EPERM")),
    ("prctl", (15, POINTER), ALLOWED),  # the name of a thread
    ("prctl", (1, signal.SIGKILL), ALLOWED),
    ("prctl", (1, 0), NOTHING),
    ("prctl", (1 | HIGH, 0), NOTHING),
    ("prctl", (1, signal.SIGKILL | HIGH), NOTHING),
    ("prctl", (36, 1), denied("EPERM")),
    ("prlimit64", (0, 7, POINTER, 0), ALLOWED),
    ("prlimit64", (1234, 7, 0, POINTER), ALLOWED),
    ("prlimit64", (1234, 7, POINTER, 0), denied("EPERM")),
    ("prlimit64", (1234, 7, HIGH, 0), denied("EPERM")),
    ("setpriority", (0, 0, 10), ALLOWED),
    ("setpriority", (0, 1234, 10), denied("EPERM")),
    ("setpriority", (2, 0, 10), denied("EPERM")),
    ("ioprio_set", (1, 0, 0), ALLOWED),
    ("ioprio_set", (3, 0, 0), denied("EPERM")),
    ("sched_setscheduler", (0,), ALLOWED),
    ("sched_setscheduler", (1234,), denied("EPERM")),
    ("sched_setaffinity", (0,), ALLOWED),
    ("sched_setaffinity", (1234,), NOTHING),
    ("personality", (0xFFFFFFFF,), ALLOWED),
    ("personality", (0x0040000,), denied("EPERM")),
    ("fcntl", (3, 2, 1), ALLOWED),
    ("fcntl", (3, 1024, 1), denied("EPERM")),
    ("fcntl", (3, 1026, 1), denied("EPERM")),
    ("ioctl", (0, 0x5401), ALLOWED),
    ("ioctl", (0, 0x5412), denied("EPERM")),
    ("ioctl", (0, 0x541C | HIGH), denied("EPERM")),
    ("ioctl", (3, 0x40086602), denied("ENOTTY")),
    ("utimensat", (3, 0, POINTER, 0), NOTHING),
    ("utimensat", (-100, POINTER, POINTER, 0), NOTHING),
    ("utimensat", (-100, HIGH, POINTER, 0), NOTHING),
]


def decide(machine: str, name: str, arguments: tuple[int, ...], **options: bool) -> int:
    known = MACHINES[machine]
    program = seccomp.assemble(machine, **{"network": True, **options})
    return interpreter.run(program, arch=known.audit_arch, number=known.numbers[name], arguments=arguments)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(("name", "arguments", "action"), CASES)
def test_decisions(machine: str, name: str, arguments: tuple[int, ...], action: int) -> None:
    """Each call meets the same action on both machines."""
    assert decide(machine, name, arguments) == action


@pytest.mark.parametrize("machine", MACHINES)
def test_no_network(machine: str) -> None:
    """Only pairs are left, and the failure reads as a lack of permission."""
    for family in (INET, INET6, NETLINK, UNIX):
        assert decide(machine, "socket", (family, STREAM, 0), network=False) == denied("EACCES")
    assert decide(machine, "socketpair", (UNIX, STREAM, 0), network=False) == ALLOWED


@pytest.mark.parametrize("machine", MACHINES)
def test_unix_sockets_where_landlock_governs_them(machine: str) -> None:
    """From Landlock 9 on, a model has sockets of its own."""
    for network in (True, False):
        for name in ("socket", "socketpair"):
            found = decide(machine, name, (UNIX, DATAGRAM, 0), network=network, unix_sockets=True)
            assert found == ALLOWED


@pytest.mark.parametrize("machine", MACHINES)
def test_truncate_before_landlock_3(machine: str) -> None:
    """Before that Landlock does not cover it."""
    assert decide(machine, "truncate", (POINTER, 0), truncate=False) == denied("EACCES")


@pytest.mark.parametrize("machine", MACHINES)
def test_other_architectures_and_unknown_calls(machine: str) -> None:
    """A 32-bit call is not this machine's: it ends the process. What later kernels add is not there."""
    known, program = MACHINES[machine], seccomp.assemble(machine, network=True)
    i386, arm = 0x40000003, 0x40000028
    for foreign in (i386, arm, *(other.audit_arch for other in MACHINES.values() if other is not known)):
        assert interpreter.run(program, arch=foreign, number=0) == bpf.KILL
    for number in (471, 600, 0x40000000, 0x40000000 + 520, 0xFFFFFFFF):
        assert interpreter.run(program, arch=known.audit_arch, number=number) == denied("ENOSYS")


@pytest.mark.parametrize("machine", MACHINES)
def test_every_other_call_is_allowed(machine: str) -> None:
    """The filter denies what it names, and each name is in the table of x86-64."""
    known, program = MACHINES[machine], seccomp.assemble(machine, network=True)
    named = set(known.numbers.values())
    for number in range(471):
        action = interpreter.run(program, arch=known.audit_arch, number=number, arguments=(POINTER,) * 6)
        assert number in named or action == ALLOWED
    assert set(MACHINES["aarch64"].numbers) <= set(MACHINES["x86_64"].numbers)


@pytest.mark.parametrize("machine", MACHINES)
def test_the_numbers_are_the_kernels(machine: str) -> None:
    """They agree with the kernel's headers, as far as this machine has those."""
    if not HEADERS[machine].exists():
        pytest.skip("no headers of the kernel are installed")
    known = dict(_numbers_in(HEADERS[machine].read_text()))
    numbers = MACHINES[machine].numbers
    newer = {"fchmodat2", "setxattrat", "removexattrat", "open_tree_attr", "file_setattr"}
    assert {name: known.get(name) for name in numbers if name in known or name not in newer} == {
        name: number for name, number in numbers.items() if name in known or name not in newer
    }


@pytest.mark.parametrize("machine", MACHINES)
def test_the_kernel_takes_the_program(machine: str) -> None:
    """It is shorter than the kernel's limit, and each jump stays within it."""
    program = seccomp.assemble(machine, network=False)
    assert len(program) % 8 == 0
    assert len(program) // 8 < 4096


def test_families_are_those_of_this_machine() -> None:
    """The constants are Linux' own."""
    assert (socket.AF_UNIX, socket.AF_INET, socket.SOCK_STREAM) == (UNIX, INET, STREAM)


def _numbers_in(header: str) -> Iterator[tuple[str, int]]:
    for name, number in re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", header):
        yield name, int(number)
