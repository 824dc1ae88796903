"""Proves how many descriptors connections may use, and that a lack of descriptors is noticed."""

from __future__ import annotations

import os
import resource
from typing import TYPE_CHECKING

import pytest

from gateway.system import descriptors

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def restored_limit() -> Iterator[None]:
    """Restore the limit of descriptors afterwards."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def set_soft_limit(number: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (number, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


@pytest.mark.usefixtures("restored_limit")
def test_the_soft_limit_is_raised() -> None:
    """To the hard limit, but not beyond 65,536; doing it again does not change it."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    target = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    set_soft_limit(min(512, target))
    for _ in range(2):
        descriptors.raise_fd_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == target


@pytest.mark.usefixtures("restored_limit")
@pytest.mark.parametrize(
    ("limit", "workers", "connections"), [(1024, 20, 576), (1024, 2, 864), (200, 20, 100)]
)
def test_connections_leave_descriptors(limit: int, workers: int, connections: int) -> None:
    """For each worker and for files; connections may always use half of all descriptors."""
    set_soft_limit(limit)
    assert descriptors.max_connections(workers=workers) == connections


@pytest.mark.usefixtures("restored_limit")
def test_a_lack_of_descriptors_is_noticed() -> None:
    """And so is that one is free again."""
    assert not descriptors.fds_exhausted()
    set_soft_limit(max(map(int, os.listdir("/proc/self/fd"))) + 3)  # noqa: PTH208 - names are what is wanted
    opened = []
    try:
        while not descriptors.fds_exhausted():
            opened.append(os.open(os.devnull, os.O_RDONLY))
    finally:
        for each in opened:
            os.close(each)
    assert opened
    assert not descriptors.fds_exhausted()


@pytest.mark.usefixtures("restored_limit")
def test_a_system_that_refuses_its_own_hard_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway keeps the limit that it has."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    set_soft_limit(512)
    requested: list[tuple[int, int]] = []

    def refuse(_: int, limits: tuple[int, int]) -> None:
        requested.append(limits)
        raise ValueError("current limit exceeds maximum limit")

    with monkeypatch.context() as patch:
        patch.setattr(resource, "setrlimit", refuse)
        descriptors.raise_fd_limit()
    assert [most for _, most in requested] == [hard]
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 512
