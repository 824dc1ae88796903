"""Proves what callers, operators and the logs see of access control, with real gateway processes."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from gateway.auth.access_file.key import digest, new_key
from tests.support import access_files
from tests.support.gateways import BODY

if TYPE_CHECKING:
    from pathlib import Path

    from tests.end_to_end.conftest import Process, Start

ALL = 'grants: {read: "*", invoke: "*", manage: "*", status: "*"}'
PREDICT = "/model/api-sums/1/invocation"
JSON = {"Content-Type": "application/json"}


async def ask(
    gateway: Process, path: str, key: str, *, method: str = "GET", **options: Any
) -> tuple[int, str]:
    """Send a request on a new connection, which leads to any of the processes; return status and text."""
    headers = {"Authorization": f"Bearer {key}", **options.pop("headers", {})}
    async with (
        aiohttp.ClientSession() as client,
        client.request(method, f"{gateway.url}{path}", headers=headers, **options) as response,
    ):
        return response.status, await response.text()


async def statuses(gateway: Process, key: str, times: int = 12) -> Counter[int]:
    """Return how often there was each status, on as many connections."""
    return Counter([(await ask(gateway, "/version", key))[0] for _ in range(times)])


@pytest.mark.slow
async def test_a_key_from_its_first_to_its_last_request(
    start: Start, registered: list[str], tmp_path: Path
) -> None:
    """In every process it counts soon after it is in the file, and soon after it is gone it does not."""
    first, second, audit = new_key()[0], new_key()[0], tmp_path / "audit.log"
    file = access_files.write(tmp_path / "access.yaml", "keys:\n" + access_files.entry(first, "first", ALL))
    gateway = start(
        GATEWAY_AUTH="keys",
        GATEWAY_API_KEYS_FILE=str(file),
        GATEWAY_PROCESSES="2",
        GATEWAY_AUDIT_LOG=str(audit),
        GATEWAY_AUDIT_INVOKE="true",
    )
    assert gateway.url, gateway.log()
    assert await statuses(gateway, first) == {200: 12}
    assert await statuses(gateway, second) == {401: 12}
    status, text = await ask(gateway, PREDICT, first, method="POST", data=BODY, headers=JSON)
    assert (status, json.loads(text)["predictions"]) == (200, [3.0, 7.0]), text
    status, text = await ask(gateway, "/metrics", first)
    assert 'gateway_auth_total{outcome="unauthenticated",source="keys"} 12.0' in text
    assert 'gateway_principal_requests_total{principal="keys:first",status="2xx"}' in text
    assert (await ask(gateway, "/v2/repository/models/api-sums/unload", first, method="POST"))[0] == 200
    access_files.write(file, "keys:\n" + access_files.entry(second, "second", ALL))
    await gateway.wait_for("access_file_loaded", times=4)
    assert await statuses(gateway, first) == {401: 12}
    assert await statuses(gateway, second) == {200: 12}
    check_audit_log(audit)
    for key in (first, second):
        for written in ("\n".join(gateway.log()), audit.read_text(), text):
            assert key not in written
            assert digest(key).hex() not in written


def check_audit_log(file: Path) -> None:
    """It has each refused request, the prediction and the unloading, and nothing else."""
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert Counter((line["status"], line.get("action"), line["principal"]) for line in lines) == {
        (401, "status", "keys:unknown"): 24,
        (200, "invoke", "keys:first"): 1,
        (200, "manage", "keys:first"): 1,
    }
    (invoked,) = [line for line in lines if line.get("action") == "invoke"]
    assert (invoked["model"], invoked["version"], invoked["answered_by"]) == ("api-sums", "1", "1")
    assert invoked["address"] == "127.0.0.1"
    assert invoked["bytes"] > 0


@pytest.mark.slow
async def test_a_broken_file_keeps_the_keys_of_before(
    start: Start, registered: list[str], tmp_path: Path
) -> None:
    """Its problems are in the log with their lines; at the start they keep the gateway from starting."""
    key = new_key()[0]
    file = access_files.write(tmp_path / "access.yaml", "keys:\n" + access_files.entry(key, "me", ALL))
    values = {"GATEWAY_AUTH": "keys", "GATEWAY_API_KEYS_FILE": str(file)}
    gateway = start(preload="none", **values)
    assert await statuses(gateway, key, 2) == {200: 2}
    access_files.write(file, "keys:\n  - id: 'a b'\n    sha256: xyz\n  - {idd: c}\n")
    (event,) = await gateway.wait_for("access_file_rejected")
    assert await statuses(gateway, key, 2) == {200: 2}
    for line in ("line 2", "line 3", "line 4"):
        assert line in event["message"]
    refused = start(preload="none", **values)
    assert refused.url == ""
    assert await refused.exit_status() == 2


@pytest.mark.slow
async def test_a_route_that_asks_for_nothing(start: Start, registered: list[str], tmp_path: Path) -> None:
    """A probe needs no key, and learns the names of pinned models only with one that may see them."""
    key = new_key()[0]
    file = access_files.write(tmp_path / "access.yaml", "keys:\n" + access_files.entry(key, "me", ALL))
    gateway = start(
        preload="none",
        GATEWAY_AUTH="keys",
        GATEWAY_API_KEYS_FILE=str(file),
        GATEWAY_PINNED_MODELS="api-broken/1",
    )
    found: dict[str, Any] = {}

    async def failed() -> bool:
        found.update(json.loads((await ask(gateway, "/health/ready", key))[1]))
        return bool(found["pinned"]["problems"])

    async def wait() -> None:
        while not await failed():
            pass

    await wait()
    assert list(found["pinned"]["problems"]) == ["api-broken/1"]
    for wrong in ("", new_key()[0], "a.b.c"):
        status, text = await ask(gateway, "/health/ready", wrong)
        assert status == 503
        assert json.loads(text)["pinned"]["problems"] == {}
        assert "api-broken" not in text
