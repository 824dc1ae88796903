"""Proves which settings of access control fit together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway import settings
from gateway.domain.limits import Limits, Rate

if TYPE_CHECKING:
    from pathlib import Path


def problems(**values: str) -> list[str]:
    """Return the problems of settings with these values."""
    try:
        settings.load(values)
    except settings.SettingsError as error:
        return error.problems
    return []


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "::1", "localhost", "127.0.0.1,[::1]", "LOCALHOST", "127.8.8.8"]
)
def test_loopback_needs_no_authentication(host: str) -> None:
    """Nothing must be set to try the gateway on one's own machine."""
    assert problems(GATEWAY_HOST=host) == []


@pytest.mark.parametrize(
    "host",
    ["0.0.0.0", "::", "127.0.0.1,::", "10.1.2.3", "example.org", "localhost.example.org"],  # noqa: S104
)
def test_any_other_address_needs_a_decision(host: str) -> None:
    """The gateway refuses to start, and says what to set; any word of it is a decision."""
    (line,) = problems(GATEWAY_HOST=host)
    assert line.startswith("GATEWAY_AUTH: is not set, but GATEWAY_HOST is ")
    assert problems(GATEWAY_HOST=host, GATEWAY_AUTH="none") == []


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"GATEWAY_AUTH": "none, keys"}, "GATEWAY_AUTH: has none and keys: with none"),
        ({"GATEWAY_AUTH": "key"}, "GATEWAY_AUTH: "),
        ({"GATEWAY_AUTH": "keys"}, "GATEWAY_API_KEYS_FILE: must name a file, because GATEWAY_AUTH has keys"),
        ({"GATEWAY_AUTH": "jwt"}, "GATEWAY_JWT_ISSUER and GATEWAY_JWT_AUDIENCE must be set"),
        (
            {"GATEWAY_AUTH": "jwt", "GATEWAY_JWT_ISSUER": "https://id.example.org"},
            "GATEWAY_JWT_AUDIENCE must be set",
        ),
        ({"GATEWAY_AUTH": "jwt", "GATEWAY_JWT_ISSUER": "http://id.example.org"}, "is not an https address"),
        ({"GATEWAY_JWT_ISSUER": "https://id.example.org"}, "unless GATEWAY_AUTH has jwt"),
        ({"GATEWAY_JWT_AUDIENCE": "gateway"}, "has no effect without GATEWAY_JWT_ISSUER"),
        ({"GATEWAY_JWT_ALGORITHMS": "HS256"}, "GATEWAY_JWT_ALGORITHMS: 'HS256' is none of RS256"),
        ({"GATEWAY_JWT_ALGORITHMS": "none"}, "GATEWAY_JWT_ALGORITHMS: 'none' is none of RS256"),
        ({"GATEWAY_AUTH": "mtls"}, "GATEWAY_AUTH: has mtls, but no certificate"),
        ({"GATEWAY_API_KEYS_FILE": "/x"}, "GATEWAY_API_KEYS_FILE: has no effect"),
        ({"GATEWAY_TLS_CERT_FILE": "/x"}, "GATEWAY_TLS_KEY_FILE: must be set together"),
        (
            {"GATEWAY_TLS_CLIENT": "required"},
            "GATEWAY_TLS_CLIENT: is required, but GATEWAY_TLS_CLIENT_CA_FILE",
        ),
        ({"GATEWAY_TRUSTED_PROXIES": "10.0.0.1/8"}, "'10.0.0.1/8' is not an address or a network"),
        ({"GATEWAY_RATE": "50"}, "GATEWAY_RATE: '50' is not a rate such as 50/s"),
        ({"GATEWAY_RATE": "0/s"}, "GATEWAY_RATE: '0/s' is not a rate"),
        ({"GATEWAY_BURST": "5"}, "GATEWAY_BURST: has no effect without GATEWAY_RATE"),
        ({"GATEWAY_ALLOWED_HOSTS": "http://x"}, "GATEWAY_ALLOWED_HOSTS: 'http://x' is not a name"),
        ({"GATEWAY_ALLOWED_ORIGINS": "*"}, "GATEWAY_ALLOWED_ORIGINS: '*' is not an origin"),
        ({"GATEWAY_ALLOWED_ORIGINS": "https://x.example/"}, "is not an origin"),
    ],
)
def test_what_does_not_fit_together(values: dict[str, str], words: str) -> None:
    """Each problem names the setting and what would be right."""
    (line,) = [line for line in problems(**values) if words in line]
    assert line


def test_a_keys_file_that_models_can_read(tmp_path: Path) -> None:
    """Neither what models write nor what they read is a place for it."""
    (tmp_path / "data").mkdir()
    chosen = {"GATEWAY_AUTH": "keys", "GATEWAY_API_KEYS_FILE": str(tmp_path / "data" / "access.yaml")}
    (line,) = problems(**chosen, GATEWAY_CACHE_DIR=str(tmp_path))
    assert line.startswith("GATEWAY_API_KEYS_FILE is in GATEWAY_CACHE_DIR")
    chosen["GATEWAY_CACHE_DIR"] = str(tmp_path / "cache")
    (line,) = problems(**chosen, GATEWAY_WORKER_READABLE=str(tmp_path / "data"))
    assert line.startswith("GATEWAY_API_KEYS_FILE is in a folder of GATEWAY_WORKER_READABLE")
    assert problems(**chosen) == []


def test_files_must_be_a_versions_own_where_callers_have_rights(tmp_path: Path) -> None:
    """Unless the operator says otherwise: a version with the files of another model would be a way round."""
    asked = {"GATEWAY_AUTH": "keys", "GATEWAY_API_KEYS_FILE": str(tmp_path / "x")}
    assert settings.load({}).effective_source_check == "warn"
    assert settings.load({"GATEWAY_AUTH": "none"}).effective_source_check == "warn"
    assert settings.load(asked).effective_source_check == "own"
    assert settings.load({**asked, "GATEWAY_SOURCE_CHECK": "warn"}).effective_source_check == "warn"


def test_the_limits_of_all(tmp_path: Path) -> None:
    """A rate, how many may come at once, and how many may be in progress."""
    found = settings.load({"GATEWAY_RATE": "600/min", "GATEWAY_BURST": "7", "GATEWAY_CONCURRENT": "3"})
    assert found.auth.limits == Limits(Rate(600, 60), 7, 3)
    assert settings.load({}).auth.limits == Limits()
    assert Limits(Rate(600, 60)).effective_burst == 10
    assert Limits(Rate(5, 3600)).effective_burst == 1
    assert str(Rate(600, 60)) == "600/min"
