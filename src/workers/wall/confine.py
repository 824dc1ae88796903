"""Confine this process: the one call that a worker and a download process make."""

from __future__ import annotations

import importlib
import os
import resource
import sys
from typing import TYPE_CHECKING, Final

from workers.wall import kernel, landlock, paths, seccomp, support
from workers.wall.policy import WallError, WallPolicy

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from workers.wall.support import WallSupport

_NO_CORE_DUMP: Final = 1  # in bytes. 0 would still have the kernel start a program that takes dumps.
_TRUNCATE_ABI: Final = 3
_MULTIPROCESSING: Final = "workers.wall.multiprocessing_pipes"  # not for a process that only downloads


def prepare(private: Iterable[str] = ()) -> None:
    """Find out what does not depend on the worker, once, in the process that workers are forked from."""
    here = support.detect()
    if here.landlock_abi:
        paths.shared_rules(tuple(private))
    if here.seccomp:
        for network in (True, False):
            _program(here, network=network)
        if not here.unix_sockets:
            importlib.import_module(_MULTIPROCESSING)


def confine(
    policy: WallPolicy,
    *,
    read: Iterable[str],
    write: Iterable[str],
    here: WallSupport | None = None,
    rules: Sequence[paths.Rule] | None = None,
) -> None:
    """Confine this process and all that it starts, for good.

    It can then read the system's libraries, Python's, `read` and the policy's folders, and change what is in
    `write`. It reaches no process but its own, and no socket by name. Called before any other thread runs.
    `here` is what the kernel supports, if that is known. `rules` take the place of those of this Python.

    Raises WallError if the mode is `require` and something is missing, or if in any mode a step fails that
    should work here: the process must end then, because it may be confined in part.
    """
    if policy.mode == "off":
        return
    here = here or support.detect()
    if policy.mode == "require" and here.missing:
        raise WallError(
            f"Workers cannot be confined as GATEWAY_WORKER_WALL=require demands: {here.missing[0]}."
        )
    if not here.landlock_abi and not here.seccomp:
        return
    step = "looking at its threads"
    try:
        _require_single_thread()
        step = "giving up privileges"
        _forbid_core_dumps()
        kernel.forbid_new_privileges()
        kernel.drop_capabilities()
        if here.landlock_abi:
            step = "Landlock"
            rules = paths.shared_rules(policy.private) if rules is None else rules
            _restrict_files(policy, here.landlock_abi, rules, read=tuple(read), write=tuple(write))
        if here.seccomp:
            step = "seccomp"
            seccomp.install(here.machine, _program(here, network=policy.network == "all"))
            if not here.unix_sockets and "multiprocessing.connection" in sys.modules:
                importlib.import_module(_MULTIPROCESSING).install()
    except OSError as error:
        path = f" ({error.filename})" if error.filename else ""
        raise WallError(f"The process cannot be confined, {step} failed: {error.strerror}{path}.") from error


def _forbid_core_dumps() -> None:
    """Limit core dumps to nothing, unless the limit is lower already: it cannot be raised again."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    limit = _NO_CORE_DUMP if hard == resource.RLIM_INFINITY else min(hard, _NO_CORE_DUMP)
    resource.setrlimit(resource.RLIMIT_CORE, (limit, limit))


def _require_single_thread() -> None:
    """Raise WallError if another thread runs: it would stay free, and its memory is this process' own."""
    if len(os.listdir("/proc/self/task")) > 1:  # noqa: PTH208 - pathlib is slower, and each worker does this
        raise WallError("The process cannot be confined: it has more than one thread already.")


def _program(here: WallSupport, *, network: bool) -> bytes:
    return seccomp.assemble(
        here.machine,
        network=network,
        unix_sockets=here.unix_sockets,
        truncate=here.landlock_abi >= _TRUNCATE_ABI or not here.landlock_abi,
    )


def _restrict_files(
    policy: WallPolicy, abi: int, shared: Sequence[paths.Rule], *, read: Sequence[str], write: Sequence[str]
) -> None:
    rules = landlock.Ruleset(abi, network=policy.network == "all")
    try:
        for path, access in shared:
            _allow_if_there(rules, path, access)
        for path in policy.readable:
            _allow_if_there(rules, path, landlock.READ)
        for path in read:
            rules.allow(path, landlock.READ)
        for path in write:
            rules.allow(path, landlock.WRITE)
        rules.restrict_self()
    finally:
        rules.close()


def _allow_if_there(rules: landlock.Ruleset, path: str, access: int) -> None:
    """Allow it, unless it is gone since it was found: a device that was unplugged, a package removed."""
    try:
        rules.allow(path, access)
    except FileNotFoundError:
        return
