"""Proves that variables of Kubernetes' Services are distinguished from settings by name and value."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

import pytest

from gateway import settings

if TYPE_CHECKING:
    from pathlib import Path


def service(name: str, *ports: tuple[str, int, str], address: str = "10.0.0.1") -> dict[str, str]:
    """Return the variables of a Service as the kubelet makes them; a port is a name, a number, a protocol."""
    prefix = name.upper().replace("-", "_")
    host = f"[{address}]" if ipaddress.ip_address(address).version == 6 else address
    links = {f"{prefix}_SERVICE_HOST": address, f"{prefix}_SERVICE_PORT": str(ports[0][1])}
    links[f"{prefix}_PORT"] = f"{ports[0][2]}://{host}:{ports[0][1]}"
    for port_name, number, protocol in ports:
        if port_name:
            links[f"{prefix}_SERVICE_PORT_{port_name.upper().replace('-', '_')}"] = str(number)
        port = f"{prefix}_PORT_{number}_{protocol.upper()}"
        links |= {
            port: f"{protocol}://{host}:{number}",
            f"{port}_PROTO": protocol,
            f"{port}_PORT": str(number),
            f"{port}_ADDR": address,
        }
    return links


HTTP = ("http", 80, "tcp")
SERVICES = {
    "gateway": service("gateway", HTTP),
    "no name of a port": service("gateway", ("", 80, "tcp")),
    "several ports": service("gateway", HTTP, ("service-port-x", 53, "udp"), ("sctp", 65535, "sctp")),
    "IPv6": service("gateway", HTTP, address="fd00::1"),
    "IPv6 of an old kubelet": {"GATEWAY_PORT": "tcp://fd00::1:80"},
    "names of settings": service("gateway-max", HTTP) | service("gateway-host", ("queue", 1024, "tcp")),
    "a setting as a Service": service("gateway-port", HTTP) | service("gateway-max-queue", HTTP),
    "names that meet": service("gateway", ("", 80, "tcp")) | service("gateway-service", HTTP),
    "the other order": service("gateway-service", HTTP) | service("gateway", ("80", 81, "tcp")),
    "database": service("gateway-db", ("", 5432, "tcp")),
}


@pytest.mark.parametrize("links", SERVICES.values(), ids=SERVICES.keys())
def test_services_of_the_namespace(links: dict[str, str]) -> None:
    """None of their variables is a setting, nor an unknown name; the settings name them."""
    loaded = settings.load({**links, "GATEWAY_MAX_QUEUE": "7", "KUBERNETES_PORT": "tcp://10.0.0.1:443"})
    assert (loaded.port, loaded.hosts, loaded.max_queue) == (8080, ("127.0.0.1",), 7)
    assert loaded.service_links == tuple(sorted(links))
    assert not loaded.environment.keys() & links.keys()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GATEWAY_PROT", "tcp://10.0.0.1:80"),
        ("GATEWAY_PORT", "tcp://10.0.0.1"),
        ("GATEWAY_PORT", "http://10.0.0.1:80"),
        ("GATEWAY_PORT", "tcp://gateway:80"),
        ("GATEWAY_PORT", "tcp://10.0.0.1:http"),
        ("GATEWAY_PORTS", "80"),
        ("GATEWAY_SERVER_PORT", "8080"),
        ("GATEWAY_SERVICE_PORT", "8080"),
        ("GATEWAY_SERVICE_HOST", "10.0.0.1"),
        ("GATEWAY_PORT_80_TCP", "udp://10.0.0.1:80"),
        ("GATEWAY_PORT_80_TCP", "tcp://10.0.0.1:81"),
        ("GATEWAY_PORT_80_TCP_PORT", "81"),
        ("GATEWAY_PORT_80_TCP_PROTO", "udp"),
        ("GATEWAY_PORT_80_TCP_ADDR", "gateway"),
        ("GATEWAY_PORT_80_HTTP", "tcp://10.0.0.1:80"),
        ("GATEWAY_DB_SERVICE_PORT_SQL", "9" * 5000),
    ],
)
def test_a_misspelt_setting_is_no_service_link(name: str, value: str) -> None:
    """The form of the name, or that of the value, is not that of Kubernetes."""
    with pytest.raises(settings.SettingsError, match=f"^{name}: "):
        settings.load({name: value})


def test_a_misspelt_setting_beside_service_links() -> None:
    """It is still reported, and they are not."""
    with pytest.raises(settings.SettingsError) as caught:
        settings.load({**service("gateway", HTTP), "GATEWAY_SERVICE_PROT": "80", "GATEWAY_HOTS": "10.0.0.1"})
    assert sorted(problem.split(":")[0] for problem in caught.value.problems) == [
        "GATEWAY_HOTS",
        "GATEWAY_SERVICE_PROT",
    ]


def test_a_port_that_is_set_wins(tmp_path: Path) -> None:
    """In the pod's own environment, where Kubernetes lets it win, and in `.env`."""
    links = service("gateway", HTTP)
    assert settings.load({**links, "GATEWAY_PORT": "81"}).port == 81
    file = tmp_path / ".env"
    file.write_text("GATEWAY_PORT=82\n")
    loaded = settings.load(links, env_file=file)
    assert (loaded.port, "GATEWAY_PORT" in loaded.service_links) == (82, False)
    assert settings.load({**links, "GATEWAY_PORT": "81"}, env_file=file).port == 81
    assert settings.read_environment(links, file)["GATEWAY_PORT"] == "82"


def test_only_ports_can_be_hidden() -> None:
    """No other setting, of MLflow and AWS neither, has a name that a Service can take."""
    links = dict.fromkeys(settings.env_names(), "tcp://10.0.0.1:80")
    ports = {"GATEWAY_PORT", "GATEWAY_NODE_PORT", "GATEWAY_NODE_METRICS_PORT", "GATEWAY_RAY_NODE_PORT"}
    assert settings.find_service_links(links) == ports
    assert not any(name.endswith(("_SERVICE_HOST", "_ADDR", "_PROTO")) for name in links)
    assert not any("_SERVICE_PORT" in name for name in links)


@pytest.mark.parametrize("name", ["mlflow", "mlflow-tracking", "mlflow-tracking-uri", "mlflow-s3"])
def test_services_of_mlflow(name: str) -> None:
    """Their variables are not read; an MLFLOW_ name that is unknown is no error."""
    own = {"MLFLOW_TRACKING_URI": "http://mlflow:5000"}
    loaded = settings.load({**service(name, HTTP), **own})
    assert (loaded.mlflow, loaded.s3) == (settings.load(own).mlflow, settings.load(own).s3)
    assert loaded.service_links == ()
