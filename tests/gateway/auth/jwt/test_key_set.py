"""Proves which entries of a JWKS document become keys, and which signatures each may verify."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import get_default_algorithms

from gateway.auth.jwt.key_set import MAX_KEYS, KeySet, parse_key_set
from gateway.settings.jwt import ALGORITHMS
from tests.support.issuer import ec_key, ed_key, encode, jwk, rsa_key


def parse(*entries: object, algorithms: tuple[str, ...] = ALGORITHMS) -> KeySet:
    """Return the keys of a document with these entries."""
    return parse_key_set(json.dumps({"keys": entries}).encode(), algorithms)


def private(key: Any, algorithm: str) -> dict[str, Any]:
    """Return a private key as an entry, as no issuer should publish it."""
    entry: dict[str, Any] = get_default_algorithms()[algorithm].to_jwk(key, as_dict=True)
    return {**entry, "kid": "a", "use": "sig", "key_ops": ["verify"]}


@pytest.mark.parametrize(
    ("entry", "algorithms"),
    [
        (jwk(rsa_key()), {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
        (jwk(rsa_key(), alg="PS384"), {"PS384"}),
        (jwk(rsa_key(), use=None), {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
        (jwk(rsa_key(), key_ops=["verify"], alg="RS256"), {"RS256"}),
        (jwk(rsa_key(), crv="P-256", alg="RS256"), {"RS256"}),
        (jwk(ec_key()), {"ES256"}),
        (jwk(ed_key()), {"EdDSA"}),
    ],
)
def test_a_key_verifies_the_signatures_of_its_type(entry: Any, algorithms: set[str]) -> None:
    """And only the one that it names, if it does."""
    keys = parse(entry)
    assert keys.keys[0].algorithms == algorithms
    assert keys.skipped == ()


def test_only_algorithms_that_are_set_count() -> None:
    """A key for others is named, so that the operator can set them."""
    keys = parse(jwk(rsa_key()), jwk(ec_key(), "e"), algorithms=("RS256",))
    assert [key.algorithms for key in keys.keys] == [{"RS256"}]
    assert keys.skipped == ("key 2 is for ES256, which is not accepted",)


@pytest.mark.parametrize(
    "entry",
    [jwk(rsa_key(), use="enc"), jwk(rsa_key(), key_ops=["encrypt"]), jwk(rsa_key(), key_ops="verify")],
)
def test_keys_for_other_uses_are_left_out(entry: Any) -> None:
    """Providers publish keys for encryption too; that is nothing to log."""
    assert parse(entry) == KeySet(())
    assert parse(entry).skipped == ()


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (jwk(rsa_key(bits=1024)), "has 1024 bits"),
        (jwk(rsa_key(), n=encode((2**8200 + 1).to_bytes(1026, "big"))), "has 8201 bits"),
        (jwk(rsa_key(), alg="HS256"), "is for 'HS256', which is not accepted"),
        (jwk(rsa_key(), alg="none"), "is for 'none', which is not accepted"),
        (jwk(rsa_key(), alg=["RS256"]), "which is not accepted"),
        (jwk(ec_key(), alg="ES384"), "is for 'ES384'"),
        (jwk(ec_key(), alg="RS256"), "is for 'RS256'"),
        ({"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"}, "the type 'oct'"),
        (jwk(ec_key(), crv="secp256k1"), "the type 'EC' 'secp256k1'"),
        (jwk(ec_key(), crv="P-384"), "is not valid"),
        (jwk(ec_key(), x="AAAA"), "is not valid"),
        (jwk(ec_key(), y=jwk(ec_key("b"))["y"]), "is not valid"),
        (jwk(ec_key(), y=None), "is not valid"),
        (jwk(ed_key(), x="AAAA"), "is not valid"),
        (jwk(ed_key(), crv="X25519"), "the type 'OKP' 'X25519'"),
        (jwk(rsa_key(), n=5), "is not valid"),
        (jwk(rsa_key(), n=None), "is not valid"),
        (jwk(rsa_key(), n=""), "is not valid"),
        (jwk(rsa_key(), e="AQ"), "is not valid"),
        (jwk(rsa_key(), e="AA"), "is not valid"),
        (jwk(rsa_key(), kid=5), "has an id that is not a text"),
        (jwk(rsa_key(), kid=""), "has an id that is not a text"),
        (jwk(rsa_key(), kid="a" * 257), "has an id that is not a text"),
        (private(rsa_key(), "RS256"), "is a private key"),
        (private(ec_key(), "ES256"), "is a private key"),
        ({}, "has no type"),
        ({"kty": ["RSA"]}, "has no type"),
        ({"kty": "x" * 500}, "the type"),
        (5, "is not a JSON object"),
        (None, "is not a JSON object"),
    ],
)
def test_a_wrong_key_is_skipped_alone(entry: Any, reason: str) -> None:
    """The others count, and the reason is short and has no key."""
    keys = parse(entry, jwk(rsa_key("b"), "b"))
    assert [key.kid for key in keys.keys] == ["b"]
    assert len(keys.skipped) == 1
    assert reason in keys.skipped[0]
    assert len(keys.skipped[0]) < 150
    assert "c2VjcmV0" not in keys.skipped[0]


def test_the_curve_of_a_key_fits_its_algorithm() -> None:
    """A key on P-384 is none for ES256."""
    key = ec.generate_private_key(ec.SECP384R1()).public_key()
    entry = get_default_algorithms()["ES384"].to_jwk(key, as_dict=True)
    assert parse({**entry, "kid": "a"}).keys[0].algorithms == {"ES384"}
    assert parse({**entry, "kid": "a"}, algorithms=("ES256",)).keys == ()


def test_a_repeated_id_names_the_first_key() -> None:
    """Of the same type; the second one is named in the log."""
    keys = parse(jwk(rsa_key()), jwk(rsa_key("b")))
    assert keys.keys == parse(jwk(rsa_key())).keys
    assert keys.skipped == ("key 2 has the id of another one",)


def test_keys_of_two_types_may_share_an_id() -> None:
    """The algorithm of the token says which one is meant (RFC 7517, section 4.5)."""
    keys = parse(jwk(rsa_key()), jwk(ec_key()))
    rsa, elliptic = keys.find("a", "RS256"), keys.find("a", "ES256")
    assert rsa is not None
    assert elliptic is not None
    assert "RS256" in rsa.algorithms
    assert elliptic.algorithms == {"ES256"}
    assert keys.find("a", "EdDSA") is None


def test_ids_that_are_ambiguous_name_no_key() -> None:
    """Two keys of one id that are both possible: neither is guessed."""
    keys = parse(jwk(rsa_key(), alg="RS256"), jwk(rsa_key("b")))
    assert keys.find("a", "RS256") is None
    assert keys.find(None, "RS256") is None
    assert parse(jwk(rsa_key(), None), jwk(rsa_key("b"), None)).find(None, "RS256") is None


def test_no_more_than_a_hundred_keys_are_read() -> None:
    """Further ones are counted."""
    keys = parse(*(jwk(ed_key(), str(number)) for number in range(MAX_KEYS + 5)))
    assert len(keys.keys) == MAX_KEYS
    assert keys.skipped == ("5 keys after the first 100",)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"keys": {}}', b'{"keys": null}', b"\xff"])
def test_a_wrong_document_has_no_keys(body: bytes) -> None:
    """It is an error, not an empty set, which would withdraw all keys."""
    with pytest.raises(ValueError, match=r"is not|has no"):
        parse_key_set(body, ALGORITHMS)
