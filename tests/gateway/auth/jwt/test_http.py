"""Proves over HTTP where a token counts, and what the answer says of one that is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.access_files import write
from tests.support.gateways import Gateway, gateway_at
from tests.support.issuer import AUDIENCE, Issuer, rsa_key, run_issuer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    """Return an issuer with one key."""
    async with run_issuer() as running:
        yield running


@pytest.fixture
async def gateway(issuer: Issuer, tmp_path: Path) -> AsyncIterator[Gateway]:
    """Return a gateway without an MLflow server, where `ann` and the group `ops` see its state."""
    file = tmp_path / "access.yaml"
    grants = 'grants: {status: ["*"]}'
    holders = (f"jwt:{issuer.url}|sub:ann", f"jwt:{issuer.url}|group:ops")
    write(file, "principals:\n" + "".join(f'  "{holder}": {{{grants}}}\n' for holder in holders))
    async with gateway_at(
        "http://127.0.0.1:9",
        tmp_path / "cache",
        GATEWAY_AUTH="jwt",
        GATEWAY_API_KEYS_FILE=str(file),
        GATEWAY_JWT_ISSUER=issuer.url,
        GATEWAY_JWT_AUDIENCE=AUDIENCE,
    ) as client:
        yield client


async def status(gateway: Gateway, path: str = "/version", **headers: str) -> int:
    """Return the status of an answer."""
    async with gateway.get(path, headers=headers) as response:
        return response.status


async def test_a_token_in_the_header_counts(gateway: Gateway, issuer: Issuer) -> None:
    """By its subject or a group; without rights it is known, but may not."""
    assert await status(gateway, Authorization=f"Bearer {issuer.token()}") == 200
    assert await status(gateway, Authorization=f"bearer {issuer.token(sub='bob', groups=['ops'])}") == 200
    for subject in ("bob", "group:ops", "sub:ann", "ann|x", "Ann"):
        assert await status(gateway, Authorization=f"Bearer {issuer.token(sub=subject)}") == 403


async def test_a_token_anywhere_else_does_not_count(gateway: Gateway, issuer: Issuer) -> None:
    """Addresses are logged and shared, and cookies are sent by browsers unasked."""
    token = issuer.token()
    assert await status(gateway, f"/version?access_token={token}") == 401
    assert await status(gateway, f"/version?token={token}&jwt={token}") == 401
    assert await status(gateway, Cookie=f"access_token={token}") == 401
    assert await status(gateway, **{"X-Access-Token": token}) == 401
    assert await status(gateway, **{"Proxy-Authorization": f"Bearer {token}"}) == 401
    assert await status(gateway, Authorization=token) in {400, 401}
    assert await status(gateway, Authorization=f"JWT {token}") in {400, 401}
    assert await status(gateway, **{"X-API-Key": token}) == 401


async def test_a_refused_token_is_answered_with_its_reason(gateway: Gateway, issuer: Issuer) -> None:
    """In RFC 6750's form, without the token."""
    token = issuer.token(rsa_key("attacker"))
    async with gateway.get("/version", headers={"Authorization": f"Bearer {token}"}) as response:
        assert response.status == 401
        challenge = response.headers["WWW-Authenticate"]
        assert challenge.startswith("Bearer realm=")
        assert 'error="invalid_token"' in challenge
        assert "bad signature" in challenge
        text = await response.text()
        assert "The token is not valid: bad signature." in text
        assert token not in text


async def test_two_tokens_are_ambiguous(gateway: Gateway, issuer: Issuer) -> None:
    """Even if both are valid."""
    headers = [("Authorization", f"Bearer {issuer.token(sub=name)}") for name in ("ann", "bob")]
    async with gateway.get("/version", headers=headers) as response:
        assert response.status == 400
