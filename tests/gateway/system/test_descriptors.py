"""Proves how descriptors are shared out, and that their end is noticed."""

from __future__ import annotations

import os
import resource
from typing import TYPE_CHECKING

import pytest

from gateway.system import descriptors

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def soft() -> Iterator[None]:
    """The limit is put back afterwards."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def limit(number: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (number, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


@pytest.mark.usefixtures("soft")
def test_as_many_as_may_be() -> None:
    """The soft limit becomes the hard one, where that is not out of all proportion; it is never lowered."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    limit(min(512, wanted))
    for _ in range(2):
        descriptors.raise_fd_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == wanted


@pytest.mark.usefixtures("soft")
@pytest.mark.parametrize(
    ("all_of_them", "workers", "left"), [(1024, 20, 576), (1024, 2, 864), (200, 20, 100)]
)
def test_connections_leave_some(all_of_them: int, workers: int, left: int) -> None:
    """For each worker and for files; half of all are left for connections in any case."""
    limit(all_of_them)
    assert descriptors.max_connections(workers=workers) == left


@pytest.mark.usefixtures("soft")
def test_the_end_of_them() -> None:
    """It is noticed, and so is that there are some again."""
    assert not descriptors.fds_exhausted()
    limit(max(map(int, os.listdir("/proc/self/fd"))) + 3)  # noqa: PTH208 - names are what is wanted
    taken = []
    try:
        while not descriptors.fds_exhausted():
            taken.append(os.open(os.devnull, os.O_RDONLY))
    finally:
        for each in taken:
            os.close(each)
    assert taken
    assert not descriptors.fds_exhausted()


@pytest.mark.usefixtures("soft")
def test_a_system_that_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some allow less than they say; the gateway starts with what it has."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    limit(512)
    asked: list[tuple[int, int]] = []

    def refuse(_: int, limits: tuple[int, int]) -> None:
        asked.append(limits)
        raise ValueError("current limit exceeds maximum limit")

    with monkeypatch.context() as patch:
        patch.setattr(resource, "setrlimit", refuse)
        descriptors.raise_fd_limit()
    assert [most for _, most in asked] == [hard]
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 512
