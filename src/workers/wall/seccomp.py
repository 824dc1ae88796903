"""The seccomp filter: it denies the system calls that Landlock does not govern and that no model needs."""

from __future__ import annotations

import ctypes
import errno
import struct
from functools import cache
from typing import TYPE_CHECKING, Final

from workers.wall import bpf, kernel
from workers.wall.syscalls import FIRST_UNKNOWN, MACHINES, Machine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workers.wall.bpf import Code

_SET_MODE_FILTER: Final = 1
_GET_ACTION_AVAIL: Final = 2
_FLAG_SPEC_ALLOW: Final = 4  # without it, older kernels slow the whole process down

_NOT_PERMITTED: Final = (  # what only a debugger, a container or an administrator does
    "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "process_mrelease",
    "pidfd_getfd", "kcmp",
    "unshare", "setns", "chroot", "pivot_root", "mount", "umount2", "mount_setattr", "open_tree",
    "open_tree_attr",
    "move_mount", "fsopen", "fsconfig", "fsmount", "fspick", "bpf", "perf_event_open", "add_key",
    "request_key",
    "keyctl", "open_by_handle_at", "kexec_load", "kexec_file_load", "create_module", "init_module",
    "finit_module",
    "delete_module", "reboot", "swapon", "swapoff", "quotactl", "quotactl_fd", "acct", "settimeofday",
    "clock_settime", "sethostname", "setdomainname", "vhangup", "syslog", "iopl", "ioperm",
    "migrate_pages",
    "nfsservctl", "lookup_dcookie", "fanotify_init",
)  # fmt: skip
_NOT_THERE: Final = (  # libraries do without it where a kernel was built without it
    "clone3",  # its flags are in memory, which a filter cannot read; the C library then calls clone
    "io_uring_setup", "io_uring_enter", "io_uring_register", "userfaultfd", "modify_ldt", "uselib",
    "sysfs", "_sysctl",
    "inotify_init", "inotify_init1",  # it would tell the names of files in folders that cannot be read
    "shmget", "shmat", "shmctl", "shmdt", "semget", "semop", "semtimedop", "semctl",  # keys are shared by all
    "msgget", "msgsnd", "msgrcv", "msgctl", "mq_open", "mq_unlink", "file_setattr",
)  # fmt: skip
# Landlock does not cover these, and they take a path. Libraries call them for their own files and must go on.
_WITHOUT_EFFECT: Final = (
    "chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "fchown", "lchown", "fchownat",
    "utime", "utimes", "futimesat", "utimensat",
)  # fmt: skip
_NOT_SUPPORTED: Final = (  # an access list is one of these attributes
    "setxattr", "lsetxattr", "fsetxattr", "setxattrat", "removexattr", "lremovexattr", "fremovexattr",
    "removexattrat",
)  # fmt: skip

_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK = 1, 2, 10, 16
_NETLINK_ROUTE: Final = 0  # the C library asks it for this machine's addresses when it resolves names
# Default, ICMP, TCP, UDP, ICMPv6. Not MPTCP, whose sockets Landlock lets bind to any port.
_PROTOCOLS: Final = (0, 1, 6, 17, 58)
_SOCK_STREAM, _SOCK_SEQPACKET, _SOCK_TYPE_MASK = 1, 5, 0xF
_CLONE_PARENT: Final = 0x00008000  # a child of the parent, which would not end with the worker
_CLONE_NEW_NAMESPACE: Final = 0x7E020000
_PR_SET_PDEATHSIG, _PR_SET_MM, _PR_SET_CHILD_SUBREAPER = 1, 35, 36
_SIGKILL: Final = 9
_PRIO_PROCESS, _IOPRIO_WHO_PROCESS = 0, 1
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C  # type on the operator's terminal
_FILE_ATTRIBUTES: Final = (0x40086602, 0x401C5820, 0x40806685, 0x800C6613)  # chattr, fs-verity, encryption
_F_SETLEASE, _F_NOTIFY = 1024, 1026  # a lease holds up every other process that opens the file
_PER_LINUX, _QUERY = 0, 0xFFFFFFFF
_EVERY_PROCESS: Final = 0xFFFFFFFF  # -1

_OK: Final = bpf.decide(bpf.ALLOW)
_DONE: Final = bpf.decide(bpf.NOTHING)


def is_available(machine: str) -> bool:
    """Return whether the kernel takes filters, and the numbers of this machine are known."""
    known = MACHINES.get(machine)
    if known is None:
        return False
    try:
        kernel.call(known.seccomp, _GET_ACTION_AVAIL, 0, struct.pack("<I", bpf.NOTHING))
    except OSError:
        return False
    return True


@cache
def assemble(machine: str, *, network: bool, unix_sockets: bool = False, truncate: bool = True) -> bytes:
    """Return the filter's program for a machine.

    `network`: sockets of the internet protocols are allowed. `unix_sockets`: Landlock keeps sockets in the
    file system from the model, so they are allowed. `truncate`: Landlock governs it, so it is allowed.
    """
    known = MACHINES[machine]
    denied = dict(_denied(known, truncate=truncate))
    judged = dict(_judged(known, network=network, unix_sockets=unix_sockets))
    # Calls that are judged by their arguments come first: the kernel remembers the others' results.
    return bpf.program(
        known.audit_arch, FIRST_UNKNOWN, bpf.error(errno.ENOSYS), [*judged.items(), *denied.items()]
    )


def install(machine: str, program: bytes) -> None:
    """Filter this thread's system calls and those of all that it starts, for good."""
    code = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("<HxxxxxxQ", len(program) // 8, ctypes.addressof(code))
    number = MACHINES[machine].seccomp
    try:
        kernel.call(number, _SET_MODE_FILTER, _FLAG_SPEC_ALLOW, header)
    except OSError as error:
        if error.errno != errno.EINVAL:  # before Linux 4.17
            raise
        kernel.call(number, _SET_MODE_FILTER, 0, header)


def _denied(machine: Machine, *, truncate: bool) -> Iterator[tuple[int, Code]]:
    for names, action in (
        (_NOT_PERMITTED, bpf.error(errno.EPERM)),
        (_NOT_THERE, bpf.error(errno.ENOSYS)),
        (_WITHOUT_EFFECT, bpf.NOTHING),
        (_NOT_SUPPORTED, bpf.error(errno.EOPNOTSUPP)),
        (() if truncate else ("truncate",), bpf.error(errno.EACCES)),
    ):
        for name in names:
            if name in machine.numbers:  # older machines have calls that newer ones never had
                yield machine.numbers[name], bpf.decide(action)


def _judged(machine: Machine, *, network: bool, unix_sockets: bool) -> Iterator[tuple[int, Code]]:
    for name, code in {
        **_sockets(network=network, unix_sockets=unix_sockets),
        **_other_processes(),
        **_files(),
    }.items():
        yield machine.numbers[name], code


def _sockets(*, network: bool, unix_sockets: bool) -> dict[str, Code]:
    no_family, no_protocol, denied = (
        bpf.decide(bpf.error(number)) for number in (errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.EACCES)
    )
    internet = bpf.arguments(2, _PROTOCOLS, _OK, no_protocol) if network else denied
    netlink = bpf.arguments(2, [_NETLINK_ROUTE], _OK, no_protocol) if network else denied
    family = bpf.arguments(0, [_AF_INET, _AF_INET6], internet, [])
    family += bpf.arguments(0, [_AF_NETLINK], netlink, [])
    family += bpf.arguments(0, [_AF_UNIX], _OK if unix_sockets else denied, no_family)
    # A pair of datagram sockets can send to any named socket of the machine, as if it were no pair.
    pair = (
        _OK if unix_sockets else bpf.masked(1, _SOCK_TYPE_MASK, [_SOCK_STREAM, _SOCK_SEQPACKET], _OK, denied)
    )
    return {"socket": family, "socketpair": bpf.arguments(0, [_AF_UNIX], pair, no_family)}


def _other_processes() -> dict[str, Code]:
    """Return the code for calls that may concern this process alone; 0 means itself.

    Landlock governs signals and tracing, but not these.
    """
    denied = bpf.decide(bpf.error(errno.EPERM))
    itself = bpf.arguments(0, [0], _OK, denied)
    death_signal = bpf.whole(1, _SIGKILL, _OK, _DONE)  # a worker must end with its parent
    return {
        "clone": bpf.bits(0, _CLONE_NEW_NAMESPACE | _CLONE_PARENT, denied, _OK),
        "kill": bpf.arguments(0, [_EVERY_PROCESS], denied, _OK),
        "prctl": [
            *bpf.arguments(0, [_PR_SET_PDEATHSIG], death_signal, []),
            *bpf.arguments(0, [_PR_SET_CHILD_SUBREAPER, _PR_SET_MM], denied, _OK),
        ],
        "prlimit64": bpf.arguments(
            0, [0], _OK, bpf.whole(2, 0, _OK, denied)
        ),  # reading others' limits is fine
        "setpriority": bpf.arguments(0, [_PRIO_PROCESS], bpf.arguments(1, [0], _OK, denied), denied),
        "ioprio_set": bpf.arguments(0, [_IOPRIO_WHO_PROCESS], bpf.arguments(1, [0], _OK, denied), denied),
        "sched_setscheduler": itself,
        "sched_setparam": itself,
        "sched_setattr": itself,
        "sched_setaffinity": bpf.arguments(0, [0], _OK, _DONE),  # libraries pin each of their threads
        "move_pages": itself,
        "personality": bpf.arguments(0, [_PER_LINUX, _QUERY], _OK, denied),
    }


def _files() -> dict[str, Code]:
    denied = bpf.decide(bpf.error(errno.EPERM))
    unsupported = bpf.decide(bpf.error(errno.ENOTTY))
    return {
        "fcntl": bpf.arguments(1, [_F_SETLEASE, _F_NOTIFY], denied, _OK),
        "ioctl": [
            *bpf.arguments(1, [_TIOCSTI, _TIOCLINUX], denied, []),
            *bpf.arguments(1, _FILE_ATTRIBUTES, unsupported, _OK),
        ],
    }
