"""Fixtures of the wall's tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.confined import HERE, Grounds, lay_out

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def grounds(tmp_path: Path) -> Grounds:
    """A gateway's folders, with two models."""
    if not HERE.landlock_abi or not HERE.seccomp:
        pytest.skip(f"this kernel cannot confine a process: {HERE.missing}")
    return lay_out(tmp_path)
