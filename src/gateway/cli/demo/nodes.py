"""The demo's nodes: which settings they get, where they listen, and what is known of them."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.cli.demo.errors import DemoError
from gateway.cli.demo.programs import run_guarded
from gateway.cli.demo.server import free_port

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator, Mapping

RESTART_SECONDS: Final = 3.0
"""The pause before a node that ended is started again."""
START_TIMEOUT_SECONDS: Final = 120.0
FOLDER: Final = "nodes"
_FIRST_PORT: Final = 8090
_MEMORY_BUDGET_BYTES: Final = 1_000_000_000  # of each node, so that a few of them fit on a laptop
# Those of the user's settings that say how models are loaded; others are the gateway's own.
_OF_MODELS: Final = (
    "GATEWAY_BATCHING",
    "GATEWAY_ENVIRONMENT",
    "GATEWAY_IDLE_SECONDS",
    "GATEWAY_INPUT_CHECKS",
    "GATEWAY_LOAD_TIMEOUT_SECONDS",
    "GATEWAY_LOG_",
    "GATEWAY_MAX_LOADED_MODELS",
    "GATEWAY_MEMORY_BUDGET_BYTES",
    "GATEWAY_PRELOAD",
    "GATEWAY_PYTHONS",
    "GATEWAY_REQUEST_TIMEOUT_SECONDS",
    "GATEWAY_WORKER",
)


@dataclass(frozen=True, slots=True)
class DemoNodes:
    """The nodes of one run, with the token that gateways show to them; `folder` has their logs and pids."""

    folder: Path
    ports: tuple[int, ...]
    token: str

    def gateway_settings(self) -> dict[str, str]:
        """Return the settings of a gateway in front of them."""
        return {
            "GATEWAY_ENGINE": "fleet",
            "GATEWAY_FLEET_NODES": ",".join(f"127.0.0.1:{port}" for port in self.ports),
            "GATEWAY_FLEET_TOKEN": self.token,
        }

    def pids(self) -> list[int]:
        """Return the process id of each node; fewer while some are started."""
        files = (self.folder / f"{port}.pid" for port in self.ports)
        return [int(file.read_text()) for file in files if file.exists()]


@contextlib.contextmanager
def run_nodes(count: int, folder: Path, values: Mapping[str, str], *, mlflow_url: str) -> Iterator[DemoNodes]:
    """Run nodes on loopback until the context ends, each started again if it ends.

    The context begins when all accept connections. Raise DemoError if one does not.
    """
    if not count:
        yield DemoNodes(folder, (), "")
        return
    folder = folder / FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    nodes = DemoNodes(folder, tuple(_free_ports(count)), secrets.token_urlsafe(32))
    with tempfile.TemporaryDirectory(prefix="gateway-demo-") as private:  # which only this user can read
        token_file = Path(private) / "token"
        token_file.write_text(nodes.token)
        token_file.chmod(0o600)
        settings = _node_settings(values, folder) | {
            "GATEWAY_FLEET_TOKEN_FILE": str(token_file),
            "MLFLOW_TRACKING_URI": mlflow_url,
        }
        with (
            (folder / "keeper.log").open("wb") as log,
            run_guarded(
                "gateway.cli.demo.node_keeper",
                str(folder),
                *map(str, nodes.ports),
                environ=values,
                settings=settings,
                output=None,
                errors=log,
            ) as guard,
        ):
            _wait_until_up(nodes, guard)
            yield nodes


def _node_settings(values: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return the user's settings for models, and defaults that suit a demo."""
    # Nodes run in a folder of their own.
    chosen = {
        name: _absolute(value) if name.endswith("_DIR") else value
        for name, value in values.items()
        if name.startswith(_OF_MODELS)
    }
    chosen.setdefault("GATEWAY_MEMORY_BUDGET_BYTES", str(_MEMORY_BUDGET_BYTES))
    cache = values.get("GATEWAY_CACHE_DIR") or folder.parent / "cache"
    return {
        **chosen,
        "GATEWAY_GRACE_SECONDS": "0",
        "GATEWAY_CACHE_DIR": _absolute(cache),
    }


def _absolute(path: str | Path) -> str:
    return str(Path(path).expanduser().absolute())


def _free_ports(count: int) -> list[int]:
    """Return ports of 127.0.0.1 that are free, the usual ones if they are."""
    ports: list[int] = []
    for number in range(count):
        port = free_port(_FIRST_PORT + number)
        while port in ports:
            port = free_port(0)
        ports.append(port)
    return ports


def _wait_until_up(nodes: DemoNodes, guard: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_TIMEOUT_SECONDS
    while len(nodes.pids()) < len(nodes.ports):
        if guard.poll() is not None:
            raise DemoError(f"A node did not start; see the logs in {nodes.folder}.")
        if time.monotonic() > until:
            raise DemoError(
                f"A node did not start in {START_TIMEOUT_SECONDS:g} s; see the logs in {nodes.folder}."
            )
        time.sleep(0.1)
