"""Proves that attacks which succeed in a free process fail behind the wall."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import pytest

from tests.support.confined import HERE, Grounds, Neighbour, Outcome, lay_out, neighbour, run_all, task
from tests.workers.wall import attacks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.workers.wall.attacks import Attack

pytestmark = pytest.mark.skipif(
    HERE.machine != "x86_64" or not HERE.landlock_abi or not HERE.seccomp,
    reason="the attacks have x86-64's numbers of system calls, and this kernel must be able to confine",
)


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Neighbour]:
    """A process beside all confined ones."""
    with neighbour(tmp_path_factory.mktemp("neighbour")) as other:
        yield other


@pytest.fixture(scope="module")
def outcomes(beside: Neighbour, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, bool], Outcome]:
    """The outcome of every attack, by its name and whether there was a wall; each on grounds of its own."""
    root, numbers = tmp_path_factory.mktemp("grounds"), count()
    chosen = [(attack, wall) for wall in (True, False) for attack in attacks.ALL if wall or not attack.anyway]

    def fresh() -> Grounds:
        grounds = lay_out(root / str(next(numbers)))
        grounds.names.update(beside.names)
        return grounds

    tasks = [task(fresh(), attack.code, wall=wall) for attack, wall in chosen]
    return {
        (attack.name, wall): outcome for (attack, wall), outcome in zip(chosen, run_all(tasks), strict=True)
    }


@pytest.mark.parametrize("attack", attacks.ALL, ids=lambda attack: attack.name)
def test_attacks(outcomes: dict[tuple[str, bool], Outcome], attack: Attack) -> None:
    """Each succeeds without the wall, where this user may do so at all, and fails behind it."""
    if attack.abi > HERE.landlock_abi:
        pytest.skip(f"only Landlock {attack.abi} stops it")
    confined = outcomes[attack.name, True]
    assert not confined.value, confined
    assert not (confined.error or "").startswith("ended"), confined
    assert confined.error not in {"NameError", "SyntaxError", "TypeError", "WallError"}, confined
    if not attack.anyway:
        assert outcomes[attack.name, False].value, outcomes[attack.name, False]


def test_the_kernel_sends_no_signals_for_a_model(beside: Neighbour, tmp_path: Path) -> None:
    """The owner of a descriptor gets a signal when data comes; a model can name any process as the owner."""
    if HERE.landlock_abi < 6:
        pytest.skip("only Landlock 6 stops it")
    confined, free = lay_out(tmp_path / "confined"), lay_out(tmp_path / "free")
    for grounds in (confined, free):
        grounds.names.update(beside.names)
    run_all([task(confined, attacks.SIGNAL_BY_DESCRIPTOR)])
    assert 64 not in beside.signals()
    run_all([task(free, attacks.SIGNAL_BY_DESCRIPTOR, wall=False)])
    assert 64 in beside.signals()
