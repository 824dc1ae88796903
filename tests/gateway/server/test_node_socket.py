"""Proves that processes of this gateway alone reach the socket of the node process."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path

import pytest

from gateway.server.node_socket import node_socket


def test_no_file_leads_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a model could put a socket of its own there, and read what it passes on to the right one.

    However long the path of the folder is; each run has a token of its own.
    """
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with node_socket() as first, node_socket() as second:
        assert not list(deep.iterdir())
        assert first.address.token != second.address.token
        assert len(first.address.token) == 32
        assert repr(first.address.token) not in repr(first.address)
        for each in (first, second, first):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(each.address.path)
                accepted, _ = each.listener.accept()
                accepted.close()


def test_only_forked_processes_have_the_way_to_it() -> None:
    """A program that one of them starts is given no descriptor of it."""
    with node_socket() as found:
        descriptor = int(Path(found.address.path).name)
        assert not os.get_inheritable(descriptor)
    with pytest.raises(OSError):  # noqa: PT011 - the text is the system's
        os.fstat(descriptor)
