"""What another process of the same user can do to the fork server, where no wall keeps it away."""

from __future__ import annotations

import json
import sys

import pytest

from tests.support import ordinary_user

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has these ways")


def test_it_is_not_looked_into_and_starts_processes_beside_a_flood() -> None:
    """Neither it nor a young process can be opened; descriptors that a process sends itself stop no start."""
    with ordinary_user.start("forkserver_attacks") as process:
        output, _ = process.communicate(timeout=120)
    assert json.loads(output.splitlines()[-1]) == {"looked into": [], "starts": ["started"] * 3}
