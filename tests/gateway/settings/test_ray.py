"""Proves which settings of the engine `ray` are refused."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from gateway.settings import RaySettings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GATEWAY_RAY_ADDRESS", "http://head:10001"),
        ("GATEWAY_RAY_ADDRESS", "ray://head"),
        ("GATEWAY_RAY_ADDRESS", "ray://head:10001/?token=t"),
        ("GATEWAY_RAY_ADDRESS", "head"),
        ("GATEWAY_RAY_ADDRESS", "user@head:6379"),
        ("GATEWAY_RAY_NAMESPACE", "two words"),
        ("GATEWAY_RAY_PYTHON", "python3"),
        ("GATEWAY_RAY_PYTHON", "/no/such/python"),
        ("GATEWAY_RAY_NODE_COMMAND", " "),
        ("GATEWAY_RAY_NODE_COMMAND", "gateway 'node"),
        ("GATEWAY_RAY_NODE_PORT", "65536"),
        ("GATEWAY_RAY_LABEL", "a=b=c"),
        ("GATEWAY_RAY_LABEL", "=b"),
    ],
)
def test_wrong_values_are_refused(name: str, value: str) -> None:
    """Nothing is started with them."""
    with pytest.raises(ValidationError):
        RaySettings.model_validate({name: value})


def test_values_that_ray_takes() -> None:
    """Addresses of heads, labels as Kubernetes has them, and a command with quotes."""
    values = {
        "GATEWAY_RAY_ADDRESS": "[fd00::1]:6379",
        "GATEWAY_RAY_LABEL": "example.org/agent=yes",
        "GATEWAY_RAY_NODE_COMMAND": "sudo -u 'the agent' gateway node",
    }
    settings = RaySettings.model_validate(values)
    assert settings.command == ("sudo", "-u", "the agent", "gateway", "node")
    assert RaySettings().command == ("gateway", "node")
