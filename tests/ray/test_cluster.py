"""Proves on a real Ray cluster that node agents are kept, found again and reported, whatever dies.

The gateway's side runs here, without ray. Ray is in an environment of its own, as `make test-ray` makes it.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shlex
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from gateway.concurrency.background import supervised_task
from gateway.engines.ray.keeper_process import KEEPER_EXITS, KeeperLimits, RayMembers
from gateway.settings import RaySettings
from tests.support.commands import descendants, still_running
from tests.support.ray_cluster import VARIABLES, ray_cluster
from tests.support.waiting import until
from workers.metrics import Counters

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from contextlib import AbstractAsyncContextManager

    from gateway.engines.members import Member
    from tests.support.ray_cluster import RayCluster

PYTHON = os.environ.get("GATEWAY_TEST_RAY_PYTHON", "")
NODE = Path(__file__).parent.parent / "support" / "programs" / "tiny_node.py"
TOKEN = "sesame-sesame-sesame-sesame-sesame"  # noqa: S105 - of this test
pytestmark = [pytest.mark.ray, pytest.mark.asyncio(loop_scope="module")]


numbers = itertools.count()


class Gateway:
    """What a gateway knows of the agents, from a keeper of its own."""

    def __init__(self, cluster: RayCluster, **fields: str) -> None:
        self.counters = Counters()
        self.mark = f"of-test-{next(numbers)}"
        command = shlex.join([sys.executable, str(NODE)])
        settings = {"address": cluster.head["address"], "python": PYTHON, "node_command": command, **fields}
        self.ray = RayMembers(
            RaySettings.model_validate(settings),
            token=lambda: TOKEN,
            environment={**os.environ, **VARIABLES, "GATEWAY_FLEET_TOKEN": TOKEN, "MARK": self.mark},
            counters=self.counters,
            limits=KeeperLimits(silence=60.0, initial_pause=0.1, longest_pause=5.0),
        )

    @property
    def members(self) -> dict[str, Member]:
        """The agents that run, by the id of their node."""
        return {member.name: member for member in self.ray.known}

    def watching(self) -> AbstractAsyncContextManager[None]:
        """Follow the members while the context lasts."""

        async def watch() -> None:
            await self.ray.watch(lambda _: None)

        return supervised_task(watch, name="ray members", counters=self.counters)

    def keepers(self) -> set[int]:
        """Return the keeper's process."""
        found = {pid for pid in descendants(os.getpid()) if b"ray/keeper.py" in read(f"/proc/{pid}/cmdline")}
        return {pid for pid in found if self.mark.encode() in read(f"/proc/{pid}/environ")}


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    """A head without an agent; tests add nodes."""
    assert PYTHON, "GATEWAY_TEST_RAY_PYTHON names no interpreter: run `make test-ray`"
    with (
        tempfile.TemporaryDirectory(prefix="r", ignore_cleanup_errors=True) as folder,
        ray_cluster(Path(folder), PYTHON, spared=b"tiny_node.py") as started,
    ):
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(cluster: RayCluster) -> dict[str, Any]:
    """A node that has an agent in all tests."""
    return await asyncio.to_thread(cluster.add_node)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(cluster: RayCluster, node: dict[str, Any]) -> AsyncIterator[Gateway]:
    """A gateway that knows the node's agent; it leaves no keeper."""
    found = Gateway(cluster)
    async with found.watching():
        await until(lambda: node["node"] in found.members)
        yield found
    assert found.keepers() == set()


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def outside(cluster: RayCluster, gateway: Gateway) -> AsyncIterator[Gateway]:
    """A gateway on a machine that is no node of the cluster, while the other tests run.

    Ray's first server for a client may fail to start, which Ray notices after half a minute.
    """
    found = Gateway(cluster, address=cluster.head["client"])
    async with found.watching():
        yield found


async def ask(member: Member) -> dict[str, Any]:
    """Return what the agent says of itself."""
    host, _, port = member.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        found: dict[str, Any] = json.loads(await reader.read())
        return found
    finally:
        writer.close()


def read(path: str) -> bytes:
    """Return the content of a file of /proc, or nothing if its process has ended."""
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""


async def test_agent_has_its_address_and_token_but_nothing_of_ray(
    gateway: Gateway, node: dict[str, Any], cluster: RayCluster
) -> None:
    """It listens at its node's address; no process shows the token, and the head is no member."""
    (member,) = gateway.ray.known
    assert member.name == node["node"]
    told = await ask(member)
    assert (told["token"], told["same_token_by_stdin"]) == (TOKEN, TOKEN)
    given = told["environment"]
    assert member.address == f"{given['GATEWAY_NODE_HOST']}:{given['GATEWAY_NODE_PORT']}"
    assert told["group"] == told["pid"]
    assert [name for name in given if name.startswith("RAY_")] == []
    everything = cluster.processes() | gateway.keepers()
    assert told["pid"] in everything
    shown = [read(f"/proc/{pid}/{name}") for pid in everything for name in ("environ", "cmdline")]
    assert len([text for text in shown if text]) > 10
    assert not [text for text in shown if TOKEN.encode() in text]


async def test_killed_agent_comes_back(gateway: Gateway, node: dict[str, Any]) -> None:
    """The agent is SIGKILLed: the members lose it, and get its successor."""
    before = await ask(gateway.members[node["node"]])
    await replaced(gateway, node)
    after = await ask(gateway.members[node["node"]])
    assert after["pid"] != before["pid"]
    assert after["token"] == TOKEN


async def test_killed_keeper_finds_the_same_agents(
    gateway: Gateway, node: dict[str, Any], cluster: RayCluster
) -> None:
    """The keeper is SIGKILLed: members stay, and the next one follows the agent that there is.

    So does the keeper of a gateway that comes later.
    """
    before = await ask(gateway.members[node["node"]])
    (keeper,) = gateway.keepers()
    os.kill(keeper, signal.SIGKILL)
    await until(lambda: gateway.counters.value(KEEPER_EXITS, "exit") == 1)
    assert node["node"] in gateway.members
    later = Gateway(cluster)
    async with later.watching():
        await until(lambda: node["node"] in later.members)
        assert (await ask(later.members[node["node"]]))["pid"] == before["pid"]
    assert (await ask(gateway.members[node["node"]]))["pid"] == before["pid"]
    await replaced(gateway, node)


async def test_killed_actor_takes_its_agent_along(
    gateway: Gateway, node: dict[str, Any], cluster: RayCluster
) -> None:
    """The actor is SIGKILLed: its agent ends, Ray restarts the actor, and that gets its order again."""
    before = await ask(gateway.members[node["node"]])
    (actor,) = [pid for pid in cluster.processes() if b"ray::NodeActor" in read(f"/proc/{pid}/cmdline")]
    os.kill(actor, signal.SIGKILL)
    assert await asyncio.to_thread(still_running, {before["pid"]}) == set()
    await until(lambda: node["node"] not in gateway.members)
    await until(lambda: node["node"] in gateway.members)
    assert (await ask(gateway.members[node["node"]]))["token"] == TOKEN


async def test_nodes_come_and_go(gateway: Gateway, node: dict[str, Any], cluster: RayCluster) -> None:
    """A node joins and becomes a member; its raylet is SIGKILLed: its agent ends and is no member."""
    joined = await asyncio.to_thread(cluster.add_node)
    await until(lambda: gateway.members.keys() == {node["node"], joined["node"]})
    agent = (await ask(gateway.members[joined["node"]]))["pid"]
    os.kill(joined["raylet"], signal.SIGKILL)
    await until(lambda: gateway.members.keys() == {node["node"]})
    assert await asyncio.to_thread(still_running, {agent}) == set()


async def test_agents_of_nodes_without_the_label_end(
    gateway: Gateway, node: dict[str, Any], cluster: RayCluster
) -> None:
    """In a namespace of its own, a gateway has agents by a label; with another label, they are removed."""
    labelled = Gateway(cluster, namespace="labels", label="gateway.agent=yes")
    async with labelled.watching():
        await until(lambda: node["node"] in labelled.members)
        agent = (await ask(labelled.members[node["node"]]))["pid"]
        assert agent != (await ask(gateway.members[node["node"]]))["pid"]
    other = Gateway(cluster, namespace="labels", label="gateway.agent=no")
    async with other.watching():
        assert await asyncio.to_thread(still_running, {agent}) == set()
    assert node["node"] in gateway.members


async def test_gateway_that_is_no_node_of_the_cluster(
    outside: Gateway, gateway: Gateway, node: dict[str, Any]
) -> None:
    """Its keeper goes through the Ray Client server of the head, and finds the agents that others keep."""
    await until(lambda: outside.ray.known == gateway.ray.known, within=150)
    assert outside.members.keys() == {node["node"]}
    await replaced(outside, node)
    await until(lambda: outside.ray.known == gateway.ray.known)


async def test_agents_outlive_the_head(gateway: Gateway, node: dict[str, Any], cluster: RayCluster) -> None:
    """The GCS is SIGKILLed: for 20 seconds, the members stay and the agent answers. It is the last test."""
    before = await ask(gateway.members[node["node"]])
    os.kill(cluster.head["gcs"], signal.SIGKILL)
    for _ in range(20):
        await asyncio.sleep(1.0)
        assert gateway.members.keys() == {node["node"]}
        assert (await ask(gateway.members[node["node"]]))["pid"] == before["pid"]


async def replaced(gateway: Gateway, node: dict[str, Any]) -> None:
    """Kill the agent of a node, and return when there is another one."""
    os.kill((await ask(gateway.members[node["node"]]))["pid"], signal.SIGKILL)
    await until(lambda: node["node"] not in gateway.members)
    await until(lambda: node["node"] in gateway.members)
