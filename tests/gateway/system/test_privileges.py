"""Proves when the gateway says that its secrets are open to models."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.ordinary_user import drop_capabilities

if TYPE_CHECKING:
    from collections.abc import Callable

needs_root = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="only root on Linux can be root"
)


def exposure(before: str = "", *, preexec: Callable[[], None] | None = None) -> str:
    """Return what a process says of itself, after it has executed `before`."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"from gateway.system import privileges\n{before}\nprint(privileges.exposure())",
        ],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=preexec,
    )
    return done.stdout.strip()


@needs_root
def test_root() -> None:
    """It reads every process; without capabilities still its own files, which are most of the machine's."""
    assert exposure().startswith(
        "The gateway runs as root (uid 0): models can read its memory and environment"
    )
    assert exposure(preexec=drop_capabilities) == (
        "The gateway runs as root (uid 0): models can read all files of root"
    )


@needs_root
def test_an_ordinary_user() -> None:
    """Nothing is said of it, unless it has capabilities."""
    become = "import os; os.setgroups([]); os.setgid(65534); os.setuid(65534)"
    assert exposure(become) == "None"
    keep = f"import ctypes; ctypes.CDLL(None).prctl(8, 1); {become}"  # PR_SET_KEEPCAPS: permitted ones only
    assert exposure(keep) == "None"


@needs_root
def test_root_of_a_user_namespace_alone() -> None:
    """Without capabilities it is a user like any other there."""
    enter = "import ctypes, os; assert ctypes.CDLL(None).unshare(0x10000000) == 0"
    map_root = (
        "open('/proc/self/setgroups', 'w').write('deny'); open('/proc/self/uid_map', 'w').write('0 0 1')"
    )
    drop = (
        "header = (ctypes.c_uint32 * 2)(0x20080522, 0); none = (ctypes.c_uint32 * 6)()\n"
        "assert ctypes.CDLL(None).capset(header, none) == 0"
    )
    program = f"{enter}; {map_root}"
    try:
        held = exposure(program)
    except subprocess.CalledProcessError:
        pytest.skip("user namespaces are not permitted here")
    assert "its memory and environment" in held
    assert exposure(f"{program}\n{drop}") == "None"


@pytest.mark.skipif(os.geteuid() == 0, reason="root is no ordinary user")
def test_this_user() -> None:
    """The user of these tests has no capabilities."""
    assert exposure() == "None"
