"""Run the `gateway` command as in a container whose seccomp profile does not know Landlock."""

from __future__ import annotations

import errno
import os
import sys

from workers.wall import bpf, kernel, seccomp
from workers.wall.syscalls import FIRST_UNKNOWN, MACHINES

LANDLOCK_CREATE_RULESET = 444


def main() -> None:
    """Forbid Landlock for this process, and become the command."""
    kernel.forbid_new_privileges()
    rule = LANDLOCK_CREATE_RULESET, bpf.decide(bpf.error(errno.EPERM))
    arch = MACHINES[kernel.machine()].audit_arch
    seccomp.install(kernel.machine(), bpf.program(arch, FIRST_UNKNOWN, bpf.error(errno.ENOSYS), [rule]))
    os.execv(sys.executable, [sys.executable, "-m", "gateway", *sys.argv[1:]])  # noqa: S606 - no shell is needed


if __name__ == "__main__":
    main()
