"""Proves what a running gateway listens on, and what it says of it."""

from __future__ import annotations

import asyncio
import signal
import socket
import urllib.request
from typing import TYPE_CHECKING

import pytest

from tests.support.commands import PATIENCE_SECONDS, gateway, running

if TYPE_CHECKING:
    from pathlib import Path

    from tests.end_to_end.conftest import Start
    from tests.support.mlflow_server import MlflowServer

LINKS = {
    "GATEWAY_SERVICE_HOST": "10.0.0.1",
    "GATEWAY_SERVICE_PORT": "80",
    "GATEWAY_SERVICE_PORT_HTTP": "80",
    "GATEWAY_PORT": "tcp://10.0.0.1:80",
    "GATEWAY_PORT_80_TCP": "tcp://10.0.0.1:80",
    "GATEWAY_PORT_80_TCP_PROTO": "tcp",
    "GATEWAY_PORT_80_TCP_PORT": "80",
    "GATEWAY_PORT_80_TCP_ADDR": "10.0.0.1",
    "MLFLOW_SERVICE_HOST": "10.0.0.2",
    "MLFLOW_PORT": "tcp://10.0.0.2:5000",
    "MLFLOW_TRACKING_PORT": "tcp://10.0.0.3:5000",
}


def write(folder: Path, **values: str) -> None:
    """Write `.env`."""
    (folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in values.items()))


def get_live(url: str) -> int:
    with urllib.request.urlopen(f"{url}/health/live", timeout=PATIENCE_SECONDS) as response:  # noqa: S310 - http
        return int(response.status)


@pytest.mark.parametrize("processes", ["1", "2"])
def test_beside_a_service_named_gateway(mlflow_server: MlflowServer, tmp_path: Path, processes: str) -> None:
    """It starts with the port of `.env`, and one line names the variables; a reload adds no other line."""
    values = {
        "MLFLOW_TRACKING_URI": mlflow_server.url,
        "GATEWAY_CACHE_DIR": str(tmp_path / "cache"),
        "GATEWAY_PRELOAD": "none",
        "GATEWAY_PROCESSES": processes,
    }
    write(tmp_path, **values, GATEWAY_PORT="0")
    with running("serve", cwd=tmp_path, extra=LINKS) as command:
        for record in command.wait_for_event("listening", times=int(processes)):
            assert get_live(record["address"]) == 200
        write(tmp_path, **values, GATEWAY_PORT="0", GATEWAY_IDLE_SECONDS="3")
        command.process.send_signal(signal.SIGHUP)
        (record, *_) = command.wait_for_event("settings_reloaded", times=1 if processes == "1" else 3)
        assert record["applied"] == ["GATEWAY_IDLE_SECONDS"]
        assert record["need_a_restart"] == []
        assert command.end() == 0
    (record,) = command.events("service_links_ignored")
    ours = {name for name in LINKS if name.startswith("GATEWAY_")} - {"GATEWAY_PORT"}
    assert (record["level"], set(record["names"])) == ("warning", ours)
    assert "enableServiceLinks: false" in record["message"]


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
@pytest.mark.parametrize("processes", ["1", "2"])
async def test_both_families(start: Start, processes: str) -> None:
    """Every address of the setting answers, on one port, and the log names all."""
    gateway = start(GATEWAY_HOST="127.0.0.1, ::1", GATEWAY_PROCESSES=processes)
    port = gateway.url.rpartition(":")[2]
    addresses = [f"http://127.0.0.1:{port}", f"http://[::1]:{port}"]
    assert gateway.url == addresses[0]
    for url in addresses:
        assert await asyncio.to_thread(get_live, url) == 200
    event = "listening" if processes == "1" else "all_processes_listening"
    (record,) = gateway.events(event)
    assert record["addresses"] == addresses
    assert record["message"].endswith(" on " + ", ".join(addresses))
    gateway.send(signal.SIGTERM)
    assert await gateway.exit_status() == 0


def test_an_address_of_another_machine(tmp_path: Path) -> None:
    """It is a wrong setting: status 2, and one line with the address and the name of the setting."""
    extra = {
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:1",
        "GATEWAY_CACHE_DIR": str(tmp_path),
        "GATEWAY_HOST": "127.0.0.1,192.0.2.250",
        "GATEWAY_AUTH": "none",
        "GATEWAY_PORT": "0",
    }
    done = gateway("serve", cwd=tmp_path, extra=extra)
    assert done.returncode == 2
    (line,) = (line for line in done.stderr.splitlines() if "privileged_user" not in line)
    assert "Cannot listen on 192.0.2.250: GATEWAY_HOST names an address" in line
