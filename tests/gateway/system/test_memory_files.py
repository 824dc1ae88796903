"""Proves that a file in memory can be read by its path, and by this process only."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from gateway.system.memory_files import MemoryFile


def test_it_is_a_file_until_it_is_closed() -> None:
    """For each reader from its beginning."""
    file = MemoryFile(b"secret")
    path = Path(file.path)
    assert path.is_file()
    assert [path.read_bytes(), path.read_bytes()] == [b"secret", b"secret"]
    file.close()
    assert not path.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it has a name")
def test_it_has_no_name_and_is_not_inherited() -> None:
    """So no other process can write it, and no program that this one starts."""
    file = MemoryFile(b"secret")
    descriptor = int(Path(file.path).name)
    assert str(Path(file.path).readlink()).startswith("/memfd:")
    assert not os.get_inheritable(descriptor)
    file.close()
