"""Proves what is accepted of an issuer's documents, from a running one: addresses, sizes, forms, and time."""

from __future__ import annotations

import gzip
import json
import ssl
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from aiohttp import web
from yarl import URL

from gateway.auth.jwt.jwks import JwksClient, KeySetUnavailable
from tests.support.issuer import Issuer, answer, jwk, never, rsa_key, run_issuer
from tests.support.token_callers import jwt_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DISCOVERY = "/.well-known/openid-configuration"


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    """Return an issuer with one key."""
    async with run_issuer() as running:
        yield running


async def fetch(
    issuer: Issuer, /, *, seconds: float = 60.0, tls: Any = None, proxy: Any = None, **changes: Any
) -> Any:
    """Return the keys of an issuer."""
    settings = jwt_settings(**{"issuer": issuer.url, **changes})
    choose = proxy or (lambda _: None)
    async with JwksClient(settings, timeout=seconds, tls=tls, choose_proxy=choose) as client:
        return await client.fetch()


def described(issuer: Issuer, /, **changes: object) -> None:
    """Let the issuer describe itself otherwise."""
    issuer.answers[DISCOVERY] = answer(json.dumps(issuer.discovery() | changes))


async def test_keys_are_found_by_the_discovery_document(issuer: Issuer) -> None:
    """No cookie, credential or compressed answer is asked for."""
    keys = await fetch(issuer)
    assert [key.kid for key in keys.keys] == ["a"]
    assert issuer.requests == {DISCOVERY: 1, "/keys": 1}
    assert {headers["Accept-Encoding"] for headers in issuer.headers} == {"identity"}
    assert not any("Authorization" in headers or "Cookie" in headers for headers in issuer.headers)


async def test_a_set_address_needs_no_discovery(issuer: Issuer) -> None:
    """Nor an issuer that has any."""
    issuer.answers["/other"] = answer(json.dumps({"keys": [jwk(rsa_key("b"), "b")]}))
    keys = await fetch(issuer, jwks_url=f"{issuer.url}/other")
    assert [key.kid for key in keys.keys] == ["b"]
    assert issuer.requests == {"/other": 1}


async def test_an_issuer_with_a_path(issuer: Issuer) -> None:
    """The document is below it; a slash at its end is not repeated, but belongs to its name."""
    for name in (f"{issuer.url}/realms/shop", f"{issuer.url}/realms/shop/"):
        document = json.dumps({"issuer": name, "jwks_uri": f"{issuer.url}/keys"})
        issuer.answers[f"/realms/shop{DISCOVERY}"] = answer(document)
        assert len((await fetch(issuer, issuer=name)).keys) == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"issuer": "https://attacker.example.org"}, "describes the issuer 'https://attacker.example.org'"),
        ({"issuer": "{url}/"}, "describes the issuer"),
        ({"issuer": None}, "describes the issuer"),
        ({"issuer": ["{url}"]}, "describes the issuer"),
        ({"jwks_uri": "http://attacker.example.org/keys"}, "not an https address"),
        ({"jwks_uri": "file:///etc/passwd"}, "not an https address"),
        ({"jwks_uri": "//attacker.example.org/keys"}, "not an https address"),
        ({"jwks_uri": "/keys"}, "not an https address"),
        ({"jwks_uri": "https://user:secret@id.example.org/keys"}, "user name"),
        ({"jwks_uri": "https://[::1"}, "Invalid IPv6"),
        ({"jwks_uri": ""}, "no jwks_uri"),
        ({"jwks_uri": None}, "no jwks_uri"),
        ({"jwks_uri": 5}, "no jwks_uri"),
    ],
)
async def test_a_wrong_description_leads_nowhere(issuer: Issuer, changes: Any, reason: str) -> None:
    """It must be that of the issuer, and its keys must be safe from those between."""
    text = json.dumps(changes).replace("{url}", issuer.url)
    described(issuer, **json.loads(text))
    with pytest.raises(KeySetUnavailable, match=reason) as caught:
        await fetch(issuer)
    assert issuer.requests["/keys"] == 0
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("path", [DISCOVERY, "/keys"])
@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        ("", 200, "is not JSON"),
        ("<html>", 200, "is not JSON"),
        ("[" * 60_000, 200, "is not JSON"),
        ("[]", 200, "is not a JSON object"),
        ('{"keys": 5}', 200, "issuer|no list `keys`"),
        (b"\xff\xfe", 200, "is not JSON"),
        (" " * (64 * 2**10 + 1), 200, "more than 64 KiB"),
        ("{}", 404, "answered 404"),
        ("{}", 500, "answered 500"),
        ("{}", 204, "answered 204"),
    ],
)
async def test_a_wrong_answer_is_no_key_set(
    issuer: Issuer, path: str, body: bytes | str, status: int, reason: str
) -> None:
    """Neither crashes the gateway, nor is more read than 64 KiB."""
    issuer.answers[path] = answer(body, status)
    with pytest.raises(KeySetUnavailable, match=reason):
        await fetch(issuer)


@pytest.mark.parametrize("path", [DISCOVERY, "/keys"])
@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_redirects_are_not_followed(issuer: Issuer, path: str, status: int) -> None:
    """Who can make the issuer redirect does not choose the keys."""
    issuer.answers[path] = answer(status=status, headers={"Location": f"{issuer.url}/attacker"})
    with pytest.raises(KeySetUnavailable, match=f"answered {status}"):
        await fetch(issuer)
    assert issuer.requests["/attacker"] == 0


async def test_an_endless_answer_is_cut_off(issuer: Issuer) -> None:
    """Without a length too."""

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" " * 4096)

    issuer.answers["/keys"] = endless
    with pytest.raises(KeySetUnavailable, match="more than 64 KiB"):
        await fetch(issuer)


async def test_a_compressed_answer_is_not_unpacked(issuer: Issuer) -> None:
    """It was not asked for, and a few KiB could become a GiB."""

    packed = gzip.compress(b" " * 2**20 + json.dumps({"keys": issuer.keys}).encode())
    issuer.answers["/keys"] = answer(packed, headers={"Content-Encoding": "gzip"})
    with pytest.raises(KeySetUnavailable, match="is not JSON"):
        await fetch(issuer)


@pytest.mark.parametrize("path", [DISCOVERY, "/keys"])
async def test_a_silent_issuer_is_given_up(issuer: Issuer, path: str) -> None:
    """One time limit counts for both documents."""
    issuer.answers[path] = never
    with pytest.raises(KeySetUnavailable, match=r"no answer within 0\.05 s"):
        await fetch(issuer, seconds=0.05)


async def test_an_issuer_that_does_not_listen() -> None:
    """The reason is in the log's text."""
    async with run_issuer() as issuer:
        pass
    with pytest.raises(KeySetUnavailable, match="ClientConnector"):
        await fetch(issuer)


async def test_an_https_issuer_is_checked() -> None:
    """A certificate of an unknown authority is refused; one of a trusted authority is accepted."""
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with run_issuer(ssl_context=server) as issuer:
        with pytest.raises(KeySetUnavailable, match="Certificate"):
            await fetch(issuer)
        assert issuer.requests.total() == 0
        assert len((await fetch(issuer, tls=trusting)).keys) == 1


async def test_a_proxy_is_asked_if_one_is_set(issuer: Issuer) -> None:
    """By the choice of the gateway's other calls; here the issuer itself plays the proxy."""
    asked: list[str] = []

    def choose(url: URL) -> URL:
        asked.append(str(url))
        return URL(issuer.url).with_user("ann").with_password("secret")

    await fetch(issuer, proxy=choose)
    assert asked == [f"{issuer.url}{DISCOVERY}", f"{issuer.url}/keys"]
    assert {headers["Proxy-Authorization"] for headers in issuer.headers} == {"Basic YW5uOnNlY3JldA=="}


async def test_a_wrong_proxy_is_no_fault_of_the_gateway(issuer: Issuer) -> None:
    """The reason names the setting."""

    def choose(_: URL) -> URL:
        raise ValueError("HTTPS_PROXY is not an address.")

    with pytest.raises(KeySetUnavailable, match="HTTPS_PROXY"):
        await fetch(issuer, proxy=choose)
