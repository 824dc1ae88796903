"""Proves which settings of a fleet are refused, with what to set, and how its token is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway import settings
from gateway.settings.fleet_checks import TokenFileError, node_problems, read_fleet_token
from gateway.settings.worker_environment import worker_environment

if TYPE_CHECKING:
    from pathlib import Path

TOKEN = "0123456789abcdef0123456789abcdef"  # noqa: S105 - of no fleet
FLEET = {"GATEWAY_ENGINE": "fleet"}
NODES = {"GATEWAY_FLEET_NODES": "127.0.0.1:8090"}
SECURED = FLEET | {"GATEWAY_FLEET_TOKEN": TOKEN}


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (SECURED, "GATEWAY_FLEET_NODES: must name the nodes, such as 10.0.0.1:8090"),
        ({"GATEWAY_FLEET_NODES": "10.0.0.1"}, "'10.0.0.1' is not of the form host:port"),
        ({"GATEWAY_FLEET_NODES": "a:0"}, "'a:0' is not of the form host:port"),
        ({"GATEWAY_FLEET_NODES": "::1:8090"}, "'::1:8090' is not of the form host:port"),
        ({"GATEWAY_FLEET_NODES": "a:1,a:1"}, "names a node twice"),
        ({"GATEWAY_FLEET_NODES": "dns://a:1,b:1"}, "dns:// among other addresses"),
        (FLEET | NODES, "GATEWAY_ENGINE: is fleet, and nodes ask who connects: set GATEWAY_FLEET_TOKEN"),
        (FLEET | {"GATEWAY_FLEET_NODES": "dns://nodes:1"}, "set GATEWAY_FLEET_TOKEN to a secret"),
        ({"GATEWAY_FLEET_TOKEN": "secret"}, "GATEWAY_FLEET_TOKEN: has 6 characters"),
        ({"GATEWAY_FLEET_TOKEN": TOKEN + " x"}, "GATEWAY_FLEET_TOKEN: must have no spaces"),
        ({"GATEWAY_FLEET_TOKEN": TOKEN + "\x01"}, "GATEWAY_FLEET_TOKEN: must have no spaces, no control"),
        (
            {"GATEWAY_FLEET_TOKEN": TOKEN, "GATEWAY_FLEET_TOKEN_FILE": "/token"},
            "GATEWAY_FLEET_TOKEN_FILE: must not be set together",
        ),
        ({"GATEWAY_FLEET_TLS_CERT_FILE": "/cert"}, "GATEWAY_FLEET_TLS_KEY_FILE: must be set together"),
        ({"GATEWAY_FLEET_TLS_KEY_FILE": "/key"}, "GATEWAY_FLEET_TLS_KEY_FILE: must be set together"),
        (
            FLEET | NODES | {"GATEWAY_FLEET_TLS_CERT_FILE": "/cert", "GATEWAY_FLEET_TLS_KEY_FILE": "/key"},
            "GATEWAY_FLEET_TLS_CA_FILE: must name the authorities",
        ),
        (
            {"GATEWAY_FLEET_REPLICAS": "3", "GATEWAY_FLEET_REPLICAS_MAX": "2"},
            "but GATEWAY_FLEET_REPLICAS is 3",
        ),
        (FLEET | NODES | {"GATEWAY_FLEET_TOKEN_FILE": "/no/such/file"}, "GATEWAY_FLEET_TOKEN_FILE cannot"),
        ({"GATEWAY_ENGINE": "remote"}, "GATEWAY_ENGINE: "),
        ({"GATEWAY_ENGINE": "ray"}, "GATEWAY_ENGINE: is ray, and nodes ask who connects"),
    ],
)
def test_wrong_settings_are_refused(values: dict[str, str], problem: str) -> None:
    """Each names what must change, and repeats no secret."""
    with pytest.raises(settings.SettingsError) as caught:
        settings.load(values)
    assert problem in str(caught.value)
    assert "secret " not in str(caught.value).replace("a secret of", "")


@pytest.mark.parametrize(
    "nodes", ["127.0.0.1:8090", "[::1]:8090, localhost:8091", "dns://localhost:8090", "127.0.0.2:1"]
)
def test_the_nodes_of_a_fleet(nodes: str) -> None:
    """They are addresses, or a name in DNS."""
    loaded = settings.load(SECURED | {"GATEWAY_FLEET_NODES": nodes})
    assert loaded.fleet.nodes == tuple(word.strip() for word in nodes.split(","))


def test_the_token_is_hidden_and_never_reaches_a_model() -> None:
    """It opens every node of the fleet."""
    loaded = settings.load({"GATEWAY_FLEET_TOKEN": TOKEN})
    assert TOKEN not in repr(loaded.fleet)
    assert read_fleet_token(loaded.fleet) == TOKEN.encode()
    assert TOKEN not in worker_environment(loaded).values()


def test_the_token_may_be_in_a_file_of_this_user_alone(tmp_path: Path) -> None:
    """As secrets are mounted; a file that others can read is refused with the command that helps."""
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    file.chmod(0o600)
    loaded = settings.load({"GATEWAY_FLEET_TOKEN_FILE": str(file)})
    assert read_fleet_token(loaded.fleet) == TOKEN.encode()
    file.chmod(0o644)
    with pytest.raises(TokenFileError, match="chmod 600"):
        read_fleet_token(loaded.fleet)
    file.chmod(0o600)
    file.write_text("short")
    with pytest.raises(TokenFileError, match="at least 32"):
        read_fleet_token(loaded.fleet)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])  # noqa: S104 - open to others
def test_a_node_needs_a_token_or_certificates(host: str, tmp_path: Path) -> None:
    """Models of its machine can connect to loopback too, so it says what to set and does not start."""
    (line,) = node_problems(settings.load({"GATEWAY_NODE_HOST": host}))
    assert f"can connect to {host}: set GATEWAY_FLEET_TOKEN" in line
    names = ("GATEWAY_FLEET_TLS_CA_FILE", "GATEWAY_FLEET_TLS_CERT_FILE", "GATEWAY_FLEET_TLS_KEY_FILE")
    certificates = {name: str(tmp_path / name) for name in names}
    for more in ({"GATEWAY_FLEET_TOKEN": TOKEN}, certificates):
        loaded = settings.load({"GATEWAY_NODE_HOST": host, **more})
        assert not list(node_problems(loaded))


def test_a_node_asks_for_no_certificates_without_having_one() -> None:
    """Without a certificate of its own its links are not encrypted at all."""
    (line,) = node_problems(settings.load({"GATEWAY_FLEET_TOKEN": TOKEN, "GATEWAY_FLEET_TLS_CA_FILE": "/ca"}))
    assert line.startswith("GATEWAY_FLEET_TLS_CERT_FILE: ")
