"""Proves that what real libraries need works behind the wall."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from tests.support.confined import HERE, Outcome, lay_out, run, run_all, task
from tests.workers.wall.needs import NEEDS, WITHOUT_NETWORK

if TYPE_CHECKING:
    from tests.support.confined import Grounds

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not HERE.landlock_abi or not HERE.seccomp, reason="this kernel cannot confine"),
]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """The outcome of everything, each in a process and on grounds of its own."""
    root = tmp_path_factory.mktemp("grounds")
    tasks = [task(lay_out(root / str(number)), code) for number, code in enumerate(NEEDS.values())]
    return dict(zip(NEEDS, run_all(tasks), strict=True))


@pytest.mark.parametrize("need", NEEDS)
def test_libraries_work(outcomes: dict[str, Outcome], need: str) -> None:
    """A model that is confined by default does what models do."""
    assert outcomes[need].value, outcomes[need]


@pytest.mark.parametrize("need", WITHOUT_NETWORK)
def test_libraries_work_without_network(grounds: Grounds, need: str) -> None:
    """Processes and event loops need no socket but pairs."""
    outcome = run(grounds, NEEDS[need], network="none")
    assert outcome.value, outcome


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_loaders_of_pytorch_work(grounds: Grounds, method: str) -> None:
    """Their processes send tensors as descriptors, which goes without sockets."""
    if find_spec("torch") is None:
        pytest.skip("PyTorch is not installed")
    code = f"""
    import torch
    from torch.utils.data import DataLoader, TensorDataset
    data = TensorDataset(torch.arange(64.0).repeat(100, 1).T.contiguous())
    batches = DataLoader(data, batch_size=4, num_workers=2, multiprocessing_context={method!r})
    return sum(batch[0][:, 0].sum().item() for batch in batches) == 2016
    """
    outcome = run(grounds, code)
    assert outcome.value, outcome


@pytest.mark.parametrize("abi", range(1, 7))
def test_libraries_work_on_older_kernels(grounds: Grounds, abi: int) -> None:
    """A ruleset of each older version of Landlock is valid, and lets libraries work."""
    if abi > HERE.landlock_abi:
        pytest.skip("this kernel is older")
    for need in ("temporary files", "sqlite", "processes by fork server", "a manager", "shared memory"):
        assert run(grounds, NEEDS[need], abi=abi).value, need
