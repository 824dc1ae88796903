"""Fork servers that the pools of a test process share: to start one takes two seconds of importing."""

from __future__ import annotations

import json
import os
import sys
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from workers.pool import pool as pools
from workers.process.forkserver import ForkServer
from workers.process.order import PickledOrder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_MAX_SERVERS = 3
_RESULT = "result: "
_lock = threading.Lock()
_running: dict[object, Any] = {}
_latest: dict[object, SharedForkServer] = {}


class SharedForkServer(ForkServer):
    """A handle on a server that other handles with the same options use too, and that outlives them."""

    def _ensure_running(self) -> Any:
        with _lock:
            if self._server is None:
                self._server = _running.get(self._key())
            server = super()._ensure_running()
            _running.pop(self._key(), None)
            _running[self._key()] = server
            _latest[self._key()] = self
            while len(_running) > _MAX_SERVERS:
                _running.pop(next(iter(_running))).close()
            return server

    def close(self) -> None:
        """Leave the server to other handles."""
        self._server = None

    def _handle_event(self, message: Mapping[str, Any]) -> None:
        """Give an event to the handle that used the server last; its first one gets them all."""
        super(SharedForkServer, _latest[self._key()])._handle_event(message)

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


def open_descriptors(forkserver: ForkServer) -> set[int]:
    """Return the descriptors that a fork server has open for long. Blocks.

    To look for orphans it opens others for a moment, all below /proc; those do not count.
    """
    found: list[set[int]] = []
    for _ in range(5):
        forkserver.measure_pss()
        found.append(set(_descriptors(forkserver)))
    return set.intersection(*found)


def _descriptors(forkserver: ForkServer) -> Iterator[int]:
    for path in Path(f"/proc/{forkserver.pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            if not path.readlink().is_relative_to("/proc"):
                yield int(path.name)


class RunningServer(ForkServer):
    """A fork server of one test, whose processes return what they are asked for."""

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return the JSON of what a function returns in a process that is forked for it. Blocks."""
        return json.loads(self.output(_print_result, function, *arguments).rpartition(_RESULT)[2])

    def output(self, function: Callable[..., Any], *arguments: Any) -> str:
        """Return what a function prints in a process that is forked for it. Blocks."""
        reader, output = os.pipe()
        try:
            process = self.start(PickledOrder.of(function, *arguments), output)
        finally:
            os.close(output)
        with os.fdopen(reader, encoding="utf-8") as file:
            text = file.read()
        os.close(process.sentinel)
        os.close(process.watched)
        return text


@contextmanager
def running(**options: Any) -> Iterator[RunningServer]:
    """Yield a fork server of its own, with these options; end it at the end."""
    server = RunningServer(**options)
    try:
        yield server
    finally:
        server.close()


def _print_result(function: Callable[..., Any], *arguments: Any) -> None:
    sys.stdout.write(_RESULT + json.dumps(function(*arguments)))
