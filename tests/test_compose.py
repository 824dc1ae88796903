"""The compose file and the settings agree: no setting is unknown to either."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from gateway import settings

ROOT = Path(__file__).resolve().parent.parent
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
FILES = (COMPOSE, yaml.safe_load((ROOT / "docker-compose.direct.yml").read_text()))
GATEWAY = COMPOSE["services"]["gateway"]["environment"]


def test_every_setting_of_the_gateway_can_be_set_in_the_compose_file() -> None:
    """A new setting is passed on to the container, and a name that went is not left behind."""
    passed_on = {entry.partition("=")[0] for entry in GATEWAY}
    known = {name for name in settings.env_names() if name.startswith("GATEWAY_")}
    known.remove("GATEWAY_PORT_DEFAULT")  # the image's own
    assert {name for name in passed_on if name.startswith("GATEWAY_")} == known


def test_models_have_no_network_unless_the_operator_says_so() -> None:
    """MLflow asks for no credentials here, so a model with a network could change every other model."""
    lines = [entry for entry in GATEWAY if entry.startswith("GATEWAY_WORKER_NETWORK")]
    assert lines == ["GATEWAY_WORKER_NETWORK=${GATEWAY_WORKER_NETWORK:-none}"]


def test_no_environment_waits_for_an_index_that_the_gateway_cannot_reach() -> None:
    """Else a version whose packages differ a little from the image's is 503, and not served with those."""
    lines = [entry for entry in GATEWAY if entry.partition("=")[0] == "GATEWAY_ENVIRONMENTS"]
    assert lines == ["GATEWAY_ENVIRONMENTS=${GATEWAY_ENVIRONMENTS:-off}"]


def test_the_compose_file_has_no_secret_and_no_default_for_one() -> None:
    """The operator chooses the secrets: a value given here would be the same in every installation."""
    given = [
        (name, value) for service in COMPOSE["services"].values() for name, value in _environment(service)
    ]
    secret = [
        (name, value)
        for name, value in given
        if value and ("PASSWORD" in name or "SECRET" in name or "KEY_ID" in name)
    ]
    assert secret
    assert all(":?" in value for _, value in secret)


def test_ports_are_published_on_loopback_only() -> None:
    """Nothing of this asks for credentials, so nothing of it is offered to the network."""
    published = [
        port for file in FILES for service in file["services"].values() for port in service.get("ports", [])
    ]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_the_image_starts_where_no_model_can_write() -> None:
    """The gateway reads `.env` of its working directory; /tmp is writable."""
    dockerfile = (Path(__file__).resolve().parent.parent / "Dockerfile").read_text().splitlines()
    assert [line for line in dockerfile if line.startswith("WORKDIR ")] == ["WORKDIR /"] * 2
    assert [line for line in dockerfile if line.startswith("USER ")] == ["USER 10001:10001"] * 2
    assert all("working_dir" not in service for service in COMPOSE["services"].values())


def test_only_the_proxy_has_a_way_out() -> None:
    """The code of models, and what it can reach, is in networks without a route and without the host."""
    open_ones = {name for name, network in COMPOSE["networks"].items() if not network.get("internal")}
    for file in FILES:
        for name, service in file["services"].items():
            assert name == "proxy" or not open_ones & set(service.get("networks", []))
            assert name == "proxy" or "ports" not in service
    for name in set(COMPOSE["networks"]) - open_ones:
        network = COMPOSE["networks"][name]
        assert network["enable_ipv6"] is False
        assert network["driver_opts"] == {"com.docker.network.bridge.inhibit_ipv4": "true"}


def test_the_gateway_shares_no_network_with_the_database() -> None:
    """A model reaches the MLflow server, and not what lies behind it."""
    networks = {name: set(service["networks"]) for name, service in COMPOSE["services"].items()}
    assert not networks["gateway"] & (networks["postgres"] | networks["s3"])
    assert networks["gateway"] & networks["mlflow-server"]


def test_the_proxy_leads_to_each_published_port_and_stops_last() -> None:
    """The proxy listens where ports are published, for services that Compose stops before it."""
    for file in FILES:
        proxy = file["services"]["proxy"]
        listens = {re.fullmatch(r"0\.0\.0\.0:(\d+)=([\w-]+):\d+", word) for word in proxy["command"]}
        assert {port.rpartition(":")[2] for port in proxy["ports"]} <= {
            found[1] for found in listens if found
        }
        assert {found[2] for found in listens if found} <= set(COMPOSE["services"])
    assert "depends_on" not in COMPOSE["services"]["proxy"]
    for name in ("gateway", "mlflow-server"):
        assert "proxy" in COMPOSE["services"][name]["depends_on"]


def test_the_examples_in_the_documentation_are_yaml() -> None:
    """Each example can be read, and the policy for Kubernetes names the ports of the compose file."""
    examples = re.findall(
        r"^```yaml\n(.*?)^```", (ROOT / "docs/containers.md").read_text(), flags=re.MULTILINE | re.DOTALL
    )
    read = [yaml.safe_load(example) for example in examples]
    policy = next(example["spec"] for example in read if example.get("kind") == "NetworkPolicy")
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert policy["ingress"][0]["ports"] == [{"port": 80}]
    assert [rule["ports"][0]["port"] for rule in policy["egress"]] == [5000, 53]


def _environment(service: dict[str, object]) -> list[tuple[str, str]]:
    given = service.get("environment", {})
    if isinstance(given, dict):
        return [(str(name), str(value)) for name, value in given.items()]
    assert isinstance(given, list)
    return [(entry.partition("=")[0], entry.partition("=")[2]) for entry in given]
