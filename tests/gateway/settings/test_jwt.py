"""Proves that the settings of tokens are checked, alone and together with GATEWAY_AUTH."""

from __future__ import annotations

import pytest

from gateway import settings

ISSUER = {"GATEWAY_JWT_ISSUER": "https://id.example.org"}
AUDIENCE = {"GATEWAY_JWT_AUDIENCE": "gateway"}


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (
            {"GATEWAY_AUTH": "jwt"},
            "GATEWAY_JWT_ISSUER and GATEWAY_JWT_AUDIENCE must be set, because GATEWAY_AUTH has jwt",
        ),
        (
            {"GATEWAY_AUTH": "jwt, mtls", **ISSUER},
            "GATEWAY_JWT_AUDIENCE must be set, because GATEWAY_AUTH has jwt",
        ),
        (AUDIENCE, "GATEWAY_JWT_AUDIENCE: has no effect without GATEWAY_JWT_ISSUER"),
        ({"GATEWAY_JWT_ISSUER": "http://id.example.org"}, "GATEWAY_JWT_ISSUER: "),
        ({"GATEWAY_JWT_ISSUER": "http://localhost.example.org"}, "GATEWAY_JWT_ISSUER: "),
        ({"GATEWAY_JWT_ISSUER": "id.example.org"}, "GATEWAY_JWT_ISSUER: "),
        ({"GATEWAY_JWT_ISSUER": "https://id.example.org?x=1"}, "GATEWAY_JWT_ISSUER: "),
        ({"GATEWAY_JWT_ISSUER": "https://id.example.org#x"}, "GATEWAY_JWT_ISSUER: "),
        ({"GATEWAY_JWT_ISSUER": "https://ann:secret@id.example.org"}, "with a user name"),
        (ISSUER | {"GATEWAY_JWT_JWKS_URL": "http://id.example.org/keys"}, "GATEWAY_JWT_JWKS_URL: "),
        (ISSUER | {"GATEWAY_JWT_ALGORITHMS": "RS256,HS256"}, "'HS256' is none of RS256"),
        (ISSUER | {"GATEWAY_JWT_ALGORITHMS": "none"}, "'none' is none of RS256"),
        (ISSUER | {"GATEWAY_JWT_LEEWAY_SECONDS": "-1"}, "GATEWAY_JWT_LEEWAY_SECONDS: "),
    ],
)
def test_wrong_settings_are_refused(values: dict[str, str], problem: str) -> None:
    """Each names what must change, and repeats no secret."""
    with pytest.raises(settings.SettingsError) as caught:
        settings.load(values)
    assert any(problem in line for line in caught.value.problems)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("issuer", ["http://id.example.org", "https://id.example.org?x=1"])
def test_a_wrong_issuer_is_one_problem(issuer: str) -> None:
    """What goes with it is not said to be without effect: the issuer was set."""
    values = {"GATEWAY_JWT_ISSUER": issuer, "GATEWAY_JWT_JWKS_URL": "https://id.example.org/keys", **AUDIENCE}
    with pytest.raises(settings.SettingsError) as caught:
        settings.load(values)
    (problem,) = caught.value.problems
    assert problem.startswith("GATEWAY_JWT_ISSUER: ")


@pytest.mark.parametrize(
    "values",
    [
        ISSUER,
        ISSUER | {"GATEWAY_JWT_JWKS_URL": "http://127.0.0.1:8000/keys"},
        {"GATEWAY_JWT_ISSUER": "http://[::1]:8000"},
        {"GATEWAY_JWT_ISSUER": "http://127.0.0.2:8000"},
        {"GATEWAY_JWT_ISSUER": "http://LOCALHOST:8000"},
    ],
)
def test_right_settings_are_accepted(values: dict[str, str]) -> None:
    """A provider by http on this machine too, for tests."""
    found = settings.load(values | AUDIENCE | {"GATEWAY_AUTH": "jwt"})
    assert found.jwt.issuer == values["GATEWAY_JWT_ISSUER"]
