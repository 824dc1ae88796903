"""Fork servers that the pools of a test process share: to start one takes two seconds of importing."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from workers.pool import pool as pools
from workers.process.forkserver import ForkServer

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAX_SERVERS = 3
_lock = threading.Lock()
_running: dict[object, Any] = {}


class SharedForkServer(ForkServer):
    """A handle on a server that other handles with the same options use too, and that outlives them."""

    def _ensure_running(self) -> Any:
        with _lock:
            if self._server is None:
                self._server = _running.get(self._key())
            server = super()._ensure_running()
            _running.pop(self._key(), None)
            _running[self._key()] = server
            while len(_running) > _MAX_SERVERS:
                _running.pop(next(iter(_running))).close()
            return server

    def close(self) -> None:
        """Leave the server to other handles."""
        self._server = None

    def _key(self) -> object:
        environment = dict(os.environ if self._environment is None else self._environment)
        environment.pop("PYTEST_CURRENT_TEST", None)
        return self.entry_module, frozenset(environment.items())


@contextmanager
def shared_forkservers() -> Iterator[None]:
    """Let all pools share fork servers; end them at the end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pools, "ForkServer", SharedForkServer)
        yield
    for server in _running.values():
        server.close()
    _running.clear()


@contextmanager
def another_forkserver() -> Iterator[None]:
    """Let pools have fork servers of their own, which end with them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pools, "ForkServer", ForkServer)
        yield
