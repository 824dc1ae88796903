"""The compose file and the settings agree: no setting is unknown to either."""

from __future__ import annotations

from pathlib import Path

import yaml

from gateway import settings

COMPOSE = yaml.safe_load((Path(__file__).resolve().parent.parent / "docker-compose.yml").read_text())
GATEWAY = COMPOSE["services"]["gateway"]["environment"]


def test_every_setting_of_the_gateway_can_be_set_in_the_compose_file() -> None:
    """A new setting is passed on to the container, and a name that went is not left behind."""
    passed_on = {entry.partition("=")[0] for entry in GATEWAY}
    known = {name for name in settings.env_names() if name.startswith("GATEWAY_")}
    known.remove("GATEWAY_PORT_DEFAULT")  # the image's own
    assert {name for name in passed_on if name.startswith("GATEWAY_")} == known


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
    published = [port for service in COMPOSE["services"].values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_the_image_starts_where_no_model_can_write() -> None:
    """The gateway reads `.env` of its working directory; /tmp is writable."""
    dockerfile = (Path(__file__).resolve().parent.parent / "Dockerfile").read_text().splitlines()
    assert [line for line in dockerfile if line.startswith("WORKDIR ")] == ["WORKDIR /"] * 2
    assert [line for line in dockerfile if line.startswith("USER ")] == ["USER 10001:10001"] * 2
    assert all("working_dir" not in service for service in COMPOSE["services"].values())


def _environment(service: dict[str, object]) -> list[tuple[str, str]]:
    given = service.get("environment", {})
    if isinstance(given, dict):
        return [(str(name), str(value)) for name, value in given.items()]
    assert isinstance(given, list)
    return [(entry.partition("=")[0], entry.partition("=")[2]) for entry in given]
