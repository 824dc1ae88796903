"""Proves that pip, which an export runs, asks the same indexes as uv and trusts the same certificates."""

from __future__ import annotations

from gateway.environments.uv_environment import pip_environment


def test_pip_has_the_indexes_and_the_certificates_of_uv() -> None:
    """Names of indexes are uv's alone; pip's own configuration is not read."""
    variables = pip_environment(
        {
            "UV_DEFAULT_INDEX": "https://first.example/simple",
            "UV_INDEX": "inner=https://second.example/simple",
            "SSL_CERT_FILE": "/etc/authority.pem",
        }
    )
    assert variables == {
        "PIP_INDEX_URL": "https://first.example/simple",
        "PIP_EXTRA_INDEX_URL": "https://second.example/simple",
        "PIP_CERT": "/etc/authority.pem",
        "PIP_CONFIG_FILE": "/dev/null",
    }
    assert pip_environment({}) == {"PIP_CONFIG_FILE": "/dev/null"}
