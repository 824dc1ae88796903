"""Proves what is said about kernels that lack a part of the wall."""

from __future__ import annotations

import pytest

from workers.wall import support


@pytest.mark.parametrize("abi", [6, 7, 8, 9, 12])
def test_a_current_kernel_misses_nothing(abi: int) -> None:
    """Since Landlock 6 and with seccomp the wall is complete."""
    here = support.assess(abi, seccomp=True, machine="aarch64")
    assert here.complete
    assert here.parts == f"Landlock {abi} and seccomp"
    assert here.unix_sockets == (abi >= 9)


@pytest.mark.parametrize(
    ("abi", "seccomp", "machine", "words"),
    [
        (0, True, "x86_64", ["read and change every file", "end or stop"]),
        (0, False, "darwin", ["read and change every file", "no darwin", "stops nothing"]),
        (1, True, "x86_64", ["Landlock 1 does not limit signals"]),
        (5, True, "x86_64", ["Landlock 5 does not limit signals"]),
        (2, False, "riscv64", ["no riscv64", "empty that user's files", "local sockets"]),
        (7, False, "x86_64", ["seccomp is not available", "local sockets", "stops TCP alone"]),
    ],
)
def test_what_is_missing(abi: int, seccomp: bool, machine: str, words: list[str]) -> None:
    """In plain words: what a model can still do."""
    here = support.assess(abi, seccomp=seccomp, machine=machine)
    assert not here.complete
    for word in words:
        assert any(word in sentence for sentence in here.missing), here.missing


def test_this_machine_is_looked_at() -> None:
    """The kernel is asked, and the question changes nothing."""
    assert support.detect() == support.detect()
