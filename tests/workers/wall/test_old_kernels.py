"""Proves what the wall stops with the parts that older kernels have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.confined import HERE, lay_out, neighbour, run_all, task
from tests.workers.wall import attacks

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        HERE.machine != "x86_64" or not HERE.landlock_abi or not HERE.seccomp,
        reason="the attacks have x86-64's numbers of system calls, and this kernel must be able to confine",
    ),
]


def succeeded(root: Path, chosen: list[attacks.Attack], *, abi: int, with_filter: bool = True) -> set[str]:
    """Return the names of the attacks that succeed with these parts."""
    with neighbour(root) as other:
        tasks = []
        for number, attack in enumerate(chosen):
            grounds = lay_out(root / str(number))
            grounds.names.update(other.names)
            tasks.append(task(grounds, attack.code, abi=abi, with_filter=with_filter))
        return {attack.name for attack, outcome in zip(chosen, run_all(tasks), strict=True) if outcome.value}


@pytest.mark.parametrize("abi", range(1, 7))
def test_an_older_landlock_stops_what_it_can(tmp_path: Path, abi: int) -> None:
    """Only signals get through before Landlock 6, and shared ports before 4: the filter stops the rest."""
    if abi > HERE.landlock_abi:
        pytest.skip("this kernel is older")
    chosen = [attack for attack in attacks.ALL if attack.by == "landlock" or attack in attacks.SOCKETS]
    found = succeeded(tmp_path, chosen, abi=abi)
    assert all("signal" in name or "port" in name for name in found), found
    assert bool(found) == (abi < 6)


def test_landlock_alone_stops_what_it_should(tmp_path: Path) -> None:
    """On a machine whose system calls are not known, files and other processes are still out of reach."""
    abi = min(HERE.landlock_abi, 6)
    chosen = [attack for attack in attacks.ALL if attack.by == "landlock" and attack.abi <= abi]
    assert succeeded(tmp_path, chosen, abi=abi, with_filter=False) == set()


def test_the_filter_alone_stops_what_it_should(tmp_path: Path) -> None:
    """On a kernel without Landlock, what is denied by the filter stays denied."""
    chosen = [attack for attack in attacks.ALL if attack.by == "seccomp"]
    assert succeeded(tmp_path, chosen, abi=0) == set()
