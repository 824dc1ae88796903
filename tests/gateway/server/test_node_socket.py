"""Proves where the socket of the node process is, and that nothing of it is left."""

from __future__ import annotations

import socket
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.server.node_socket import node_socket

if TYPE_CHECKING:
    import pytest


def test_it_is_in_a_private_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No other user can reach it, however long the path of the folder is; each run has a token of its own."""
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with node_socket() as first, node_socket() as second:
        folders = [Path(each.address.path).parent.resolve() for each in (first, second)]
        assert {folder.parent for folder in folders} == {deep}
        assert all(stat.S_IMODE(folder.stat().st_mode) == 0o700 for folder in folders)
        assert first.address.token != second.address.token
        assert len(first.address.token) == 32
        assert repr(first.address.token) not in repr(first.address)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(first.address.path)
            accepted, _ = first.listener.accept()
            accepted.close()
    assert not any(folder.exists() for folder in folders)
