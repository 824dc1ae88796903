"""Proves that forged, misused and broken tokens are refused, with a running issuer."""

from __future__ import annotations

import base64
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.auth.credentials import parse_credential
from gateway.auth.errors import AmbiguousCredentials
from tests.support.issuer import (
    ec_key,
    ed_key,
    encode,
    hmac_token,
    jwk,
    pem_of,
    rsa_key,
    run_issuer,
    sign,
)
from tests.support.token_callers import token_caller

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.support.issuer import Issuer


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    """Return an issuer with an RSA key, `a`, and one on P-256, `e`."""
    async with run_issuer() as running:
        running.keys = [jwk(rsa_key()), jwk(ec_key(), "e"), jwk(rsa_key("enc"), "enc", use="enc")]
        yield running


def unsigned(algorithm: str, signature: str = "") -> Callable[[Issuer], str]:
    """Return a maker of tokens whose signature is not one."""

    def forge(issuer: Issuer) -> str:
        return f"{encode({'alg': algorithm, 'kid': 'a'})}.{encode(issuer.claims())}.{signature}"

    return forge


def with_header(**members: Any) -> Callable[[Issuer], str]:
    """Return a maker of well signed tokens with other members of the header."""
    return lambda issuer: sign(issuer.claims(), key=rsa_key(), **members)


def with_claims(**changes: Any) -> Callable[[Issuer], str]:
    """Return a maker of well signed tokens with other claims; None leaves one out."""
    return lambda issuer: issuer.token(**changes)


def with_payload(change: Callable[[str], str]) -> Callable[[Issuer], str]:
    """Return a maker of well signed tokens with another text of the claims."""
    return lambda issuer: sign(change(json.dumps(issuer.claims())).encode(), key=rsa_key())


def with_token(change: Callable[[str], str]) -> Callable[[Issuer], str]:
    """Return a maker of tokens that were changed after they were signed."""
    return lambda issuer: change(issuer.token())


def foreign(**members: Any) -> Callable[[Issuer], str]:
    """Return a maker of tokens signed with the attacker's key, which the header names."""
    return lambda issuer: sign(issuer.claims(), key=rsa_key("attacker"), **members)


def secret(make: Callable[[], bytes]) -> Callable[[Issuer], str]:
    """Return a maker of tokens signed with HMAC, the public key being the secret."""
    return lambda issuer: hmac_token(issuer.claims(), make())


def modulus() -> bytes:
    """Return the modulus of the issuer's key."""
    number = rsa_key().public_key().public_numbers().n
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def ec_signature(change: Callable[[bytes], bytes]) -> Callable[[Issuer], str]:
    """Return a maker of ES256 tokens whose signature was changed."""

    def forge(issuer: Issuer) -> str:
        signed, _, signature = issuer.token(ec_key(), algorithm="ES256", kid="e").rpartition(".")
        return f"{signed}.{encode(change(base64.urlsafe_b64decode(signature + '==')))}"

    return forge


def flip_last_bits(token: str) -> str:
    """Return the token with other bits in the last letter of its signature, which stand for no byte."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return token[:-1] + alphabet[alphabet.index(token[-1]) ^ 1]


SIGNATURES = {
    "none": (unsigned("none"), "malformed"),
    "None": (unsigned("None"), "malformed"),
    "nOnE": (unsigned("nOnE"), "malformed"),
    "none with a signature": (unsigned("none", "AAAA"), "algorithm not accepted"),
    "nOnE with a signature": (unsigned("nOnE", "AAAA"), "algorithm not accepted"),
    "RS256 without a signature": (unsigned("RS256"), "malformed"),
    "HS256 with the public key as PEM": (secret(lambda: pem_of(rsa_key())), "algorithm not accepted"),
    "HS256 with the public key as DER": (
        secret(lambda: rsa_key().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)),
        "algorithm not accepted",
    ),
    "HS256 with the modulus": (secret(modulus), "algorithm not accepted"),
    "HS256 with nothing": (secret(lambda: b""), "algorithm not accepted"),
    "another key with the issuer's id": (foreign(), "bad signature"),
    "jku": (foreign(jku="https://attacker.example.org/keys"), "bad signature"),
    "x5u": (foreign(x5u="https://attacker.example.org/chain"), "bad signature"),
    "jwk": (foreign(jwk=jwk(rsa_key("attacker"))), "bad signature"),
    "jwk without kid": (foreign(jwk=jwk(rsa_key("attacker")), kid=None), "bad signature"),
    "x5c": (foreign(x5c=["MIIB"]), "bad signature"),
    "kid of the attacker": (foreign(kid="attacker"), "unknown key"),
    "kid that is a path": (foreign(kid="../../dev/null"), "unknown key"),
    "kid with SQL": (foreign(kid="' UNION SELECT 'x"), "unknown key"),
    "kid that is a number": (with_header(kid=5), "malformed"),
    "kid that is a list": (with_header(kid=["a"]), "malformed"),
    "empty kid": (with_header(kid=""), "malformed"),
    "long kid": (with_header(kid="a" * 257), "malformed"),
    "a key for encryption": (
        lambda issuer: issuer.token(rsa_key("enc"), kid="enc"),
        "unknown key",
    ),
    "an algorithm that is not set": (
        lambda issuer: issuer.token(algorithm="RS512"),
        "algorithm not accepted",
    ),
    "RS256 with the id of an EC key": (lambda issuer: issuer.token(kid="e"), "unknown key"),
    "ES256 with the id of an RSA key": (
        lambda issuer: issuer.token(ec_key(), algorithm="ES256", kid="a"),
        "unknown key",
    ),
    "alg that is a list": (with_header(alg=["RS256"]), "algorithm not accepted"),
    "alg in lower case": (with_header(alg="rs256"), "algorithm not accepted"),
    "no alg": (with_header(alg=None), "algorithm not accepted"),
    "ES256 with zeros": (ec_signature(lambda _: bytes(64)), "bad signature"),
    "ES256 with bytes after it": (ec_signature(lambda signature: signature + b"\0"), "bad signature"),
    "ES256 with a byte too few": (ec_signature(lambda signature: signature[:-1]), "bad signature"),
    "ES256 in DER": (
        ec_signature(
            lambda signature: encode_dss_signature(
                int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
            )
        ),
        "bad signature",
    ),
    "ES256 with r and s beyond the order": (ec_signature(lambda _: b"\xff" * 64), "bad signature"),
}
FORMS = {
    "empty": (lambda _: "", "malformed"),
    "one part": (lambda _: "abc", "malformed"),
    "five parts": (lambda issuer: issuer.token() + ".AAAA.AAAA", "malformed"),
    "four parts": (lambda issuer: issuer.token() + ".AAAA", "malformed"),
    "1 MiB": (lambda issuer: issuer.token(pad="x" * 2**20), "malformed"),
    "more than 16 KiB": (lambda issuer: issuer.token(pad="x" * 13_000), "malformed"),
    "padding": (with_token(lambda token: token + "=="), "malformed"),
    "padding of the header": (with_token(lambda token: token.replace(".", "=.", 1)), "malformed"),
    "a line feed after it": (with_token(lambda token: token + "\n"), "malformed"),
    "a blank in it": (with_token(lambda token: token.replace(".", ". ", 1)), "malformed"),
    "a NUL in it": (with_token(lambda token: token.replace(".", "\0.", 1)), "malformed"),
    "letters that are not ASCII": (with_token(lambda token: token + "ä"), "malformed"),
    "a surrogate": (with_token(lambda token: token + "\udc80"), "malformed"),
    "the other alphabet of base64": (with_token(lambda token: "+/" + token[2:]), "malformed"),
    "other bits that stand for nothing": (with_token(flip_last_bits), "malformed"),
    "header that is no JSON": (lambda issuer: sign(issuer.claims(), key=rsa_key(), header=b"{"), "malformed"),
    "header that is a list": (lambda issuer: sign(issuer.claims(), key=rsa_key(), header=b"[]"), "malformed"),
    "deep header": (
        lambda issuer: sign(issuer.claims(), key=rsa_key(), header=b"[" * 9000),
        "malformed",
    ),
    "header with alg twice": (
        lambda issuer: sign(issuer.claims(), key=rsa_key(), header=b'{"alg":"none","alg":"RS256","kid":"a"}'),
        "malformed",
    ),
    "crit": (with_header(crit=["exp"]), "malformed"),
    "crit that PyJWT knows": (with_header(crit=["b64"], b64=True), "malformed"),
    "empty crit": (with_header(crit=[]), "malformed"),
    "b64": (with_header(b64=False), "malformed"),
    "a token in the token": (with_header(cty="JWT"), "malformed"),
    "zip": (with_header(zip="DEF"), "malformed"),
    "a logout token": (with_header(typ="logout+jwt"), "malformed"),
    "typ that is a number": (with_header(typ=1), "malformed"),
}
NOW = int(time.time())
CLAIMS = {
    "wrong iss": (with_claims(iss="https://attacker.example.org"), "wrong issuer"),
    "iss with a slash after it": (lambda issuer: issuer.token(iss=issuer.url + "/"), "wrong issuer"),
    "iss in capitals": (lambda issuer: issuer.token(iss=issuer.url.upper()), "wrong issuer"),
    "iss that is a list": (lambda issuer: issuer.token(iss=[issuer.url]), "wrong issuer"),
    "no iss": (with_claims(iss=None), "wrong issuer"),
    "wrong aud": (with_claims(aud="other"), "wrong audience"),
    "aud that has ours in it": (with_claims(aud="gateway-2"), "wrong audience"),
    "aud with others": (with_claims(aud=["other", "gateway2"]), "wrong audience"),
    "aud with a number": (with_claims(aud=["gateway", 5]), "wrong audience"),
    "aud that is an object": (with_claims(aud={"gateway": True}), "wrong audience"),
    "empty aud": (with_claims(aud=[]), "wrong audience"),
    "no aud": (with_claims(aud=None), "wrong audience"),
    "expired": (with_claims(exp=NOW - 60), "expired"),
    "negative exp": (with_claims(exp=-1), "expired"),
    "no exp": (with_claims(exp=None), "unusable claims"),
    "exp as text": (with_claims(exp=str(NOW + 10**6)), "malformed"),
    "exp as another text": (with_claims(exp="never"), "malformed"),
    "exp that is true": (with_claims(exp=True), "expired"),
    "exp as list": (with_claims(exp=[NOW + 10**6]), "malformed"),
    "exp without end": (
        with_payload(lambda text: text.replace('"exp": ', '"exp": 1e400, "x": ')),
        "malformed",
    ),
    "exp of a thousand digits": (with_claims(exp=10**1000), "malformed"),
    "exp of more digits than Python reads": (
        with_payload(lambda text: text.replace('"exp": ', f'"exp": {"9" * 5000}, "x": ')),
        "malformed",
    ),
    "exp NaN": (with_payload(lambda text: text.replace('"exp": ', '"exp": NaN, "x": ')), "malformed"),
    "exp Infinity": (
        with_payload(lambda text: text.replace('"exp": ', '"exp": Infinity, "x": ')),
        "malformed",
    ),
    "nbf to come": (with_claims(nbf=NOW + 10**6), "not yet valid"),
    "nbf as text": (with_claims(nbf=str(NOW - 60)), "malformed"),
    "nbf that is true": (with_claims(nbf=True), "malformed"),
    "iat that is true": (with_claims(iat=True), "malformed"),
    "nbf NaN": (with_payload(lambda text: text.replace('"exp": ', '"nbf": NaN, "exp": ')), "malformed"),
    "iat to come": (with_claims(iat=NOW + 10**6), "not yet valid"),
    "iat as text": (with_claims(iat=str(NOW)), "malformed"),
    "no sub": (with_claims(sub=None), "unusable claims"),
    "sub that is a number": (with_claims(sub=5), "malformed"),
    "empty sub": (with_claims(sub=""), "unusable claims"),
    "sub with a line feed": (with_claims(sub="ann\nadmin"), "unusable claims"),
    "sub with an escape": (with_claims(sub="ann\x1b[2J"), "unusable claims"),
    "sub that is written backwards": (with_claims(sub="ann\u202enimda"), "unusable claims"),
    "sub with a surrogate": (with_claims(sub="ann\ud800"), "unusable claims"),
    "sub with a blank before it": (with_claims(sub=" ann"), "unusable claims"),
    "long sub": (with_claims(sub="a" * 256), "unusable claims"),
    "sub twice": (with_payload(lambda text: text.replace("}", ', "sub": "admin"}')), "malformed"),
    "claims that are a list": (lambda _: sign(b"[]", key=rsa_key()), "malformed"),
    "claims that are no JSON": (lambda _: sign(b"{", key=rsa_key()), "malformed"),
    "claims that are not UTF-8": (lambda _: sign(b'{"sub": "\xff"}', key=rsa_key()), "malformed"),
    "deep claims": (
        with_payload(lambda text: text.replace("}", f', "x": {"[" * 5000}{"]" * 5000}}}')),
        "malformed",
    ),
}


@pytest.mark.parametrize(("forge", "reason"), SIGNATURES.values(), ids=SIGNATURES)
async def test_a_forged_signature_is_refused(issuer: Issuer, forge: Any, reason: str) -> None:
    """What no key of the issuer has signed names no one, whatever its header says."""
    async with token_caller(issuer) as caller:
        assert await caller.reason(forge(issuer)) == reason
        assert (await caller.ask(issuer.token())).id == f"{issuer.url}|sub:ann"
    assert issuer.requests["/keys"] <= 2  # at the start, and for an unknown key


@pytest.mark.parametrize(("forge", "reason"), FORMS.values(), ids=FORMS)
async def test_a_token_of_another_form_is_refused(issuer: Issuer, forge: Any, reason: str) -> None:
    """Each token has one form that is accepted, so no other one leads past what is remembered of it."""
    async with token_caller(issuer) as caller:
        assert await caller.reason(forge(issuer)) == reason
        assert await caller.reason(forge(issuer)) == reason


@pytest.mark.parametrize(("forge", "reason"), CLAIMS.values(), ids=CLAIMS)
async def test_wrong_claims_are_refused(issuer: Issuer, forge: Any, reason: str) -> None:
    """Signed by the issuer, but not for this gateway or this time, or without a usable name."""
    async with token_caller(issuer) as caller:
        assert await caller.reason(forge(issuer)) == reason
        assert await caller.reason(forge(issuer)) == reason


@pytest.mark.parametrize(
    ("key", "algorithm", "kid"),
    [(rsa_key, "RS256", "a"), (rsa_key, "PS256", "a"), (ec_key, "ES256", "e"), (ed_key, "EdDSA", "d")],
)
async def test_good_tokens_are_accepted(issuer: Issuer, key: Any, algorithm: str, kid: str) -> None:
    """Of each kind of key, so that the refusals mean something."""
    issuer.keys.append(jwk(ed_key(), "d"))
    issuer.keys[0].pop("alg", None)
    async with token_caller(issuer, algorithms=("RS256", "PS256", "ES256", "EdDSA")) as caller:
        token = issuer.token(key(), algorithm=algorithm, kid=kid)
        principal = await caller.ask(token)
        assert (principal.id, principal.source) == (f"{issuer.url}|sub:ann", "jwt")
        assert caller.authenticator.recognise(parse_credential([f"Bearer {token}"], [])) is principal  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "forge",
    [
        with_claims(aud=["other", "gateway"]),
        with_claims(exp=NOW + 10**6.5),
        lambda issuer: issuer.token(exp=int(time.time()) - 10),
        lambda issuer: issuer.token(nbf=int(time.time()) + 10),
        with_claims(iat=None),
        with_claims(sub="ann@example.org"),
        with_claims(sub="Ännchen 🌲"),
        with_header(typ=None),
        with_header(typ="application/at+jwt"),
        with_header(jku="https://attacker.example.org/keys"),
    ],
)
async def test_unusual_but_valid_tokens_are_accepted(issuer: Issuer, forge: Any) -> None:
    """Several audiences, fractions, clocks that differ, and headers that are not read."""
    async with token_caller(issuer) as caller:
        assert (await caller.ask(forge(issuer))).source == "jwt"


async def test_an_attackers_key_set_is_never_fetched(issuer: Issuer) -> None:
    """Not even if `jku` names the issuer's own machine."""
    async with token_caller(issuer) as caller:
        await caller.reason(foreign(jku=f"{issuer.url}/attacker", kid="attacker")(issuer))
    assert "/attacker" not in issuer.requests


async def test_an_unverified_email_names_no_caller(issuer: Issuer) -> None:
    """If addresses name callers, only one that the issuer has verified, or says nothing of."""
    async with token_caller(issuer, principal_claim="email") as caller:
        for verified in (False, "false", 0, None):
            token = sign(issuer.claims(email="ann@example.org") | {"email_verified": verified}, key=rsa_key())
            assert await caller.reason(token) == "unusable claims"
        assert (await caller.ask(issuer.token(email="ann@example.org"))).id.endswith("|sub:ann@example.org")
        assert await caller.reason(issuer.token()) == "unusable claims"


def test_two_tokens_are_refused() -> None:
    """Which of them counts would depend on who reads them."""
    one = sign({"sub": "ann"}, key=rsa_key())
    two = sign({"sub": "bob"}, key=rsa_key())
    for headers in (
        [f"Bearer {one}", f"Bearer {two}"],
        [f"Bearer {one}, Bearer {two}"],
        [f"Bearer {one} {two}"],
    ):
        with pytest.raises(AmbiguousCredentials):
            parse_credential(headers, [])
