"""The public keys of an issuer, read from a JSON Web Key Set (RFC 7517)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import jwt
import orjson
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

if TYPE_CHECKING:
    from collections.abc import Collection

    from jwt.algorithms import AllowedPublicKeys

MAX_KEYS: Final = 100
MAX_KID_LENGTH: Final = 256
_MIN_RSA_BITS: Final = 2048
_MAX_RSA_BITS: Final = 8192  # a larger one makes each verification slow
_ALGORITHMS: Final[dict[tuple[str, str], tuple[str, ...]]] = {
    ("RSA", ""): ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA",),
    ("OKP", "Ed448"): ("EdDSA",),
}
"""The signatures that a key can make, by its type and curve."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A public key, and the algorithms of the signatures that it may verify."""

    kid: str | None
    algorithms: frozenset[str]
    encoded: bytes = field(repr=False)
    public: AllowedPublicKeys = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class KeySet:
    """The keys of an issuer, and a sentence for each entry that cannot be used."""

    keys: tuple[SigningKey, ...]
    skipped: tuple[str, ...] = field(default=(), compare=False)

    def find(self, kid: str | None, algorithm: str) -> SigningKey | None:
        """Return the key with this id; without an id, the only key for the algorithm."""
        fitting = [
            key for key in self.keys if algorithm in key.algorithms and (kid is None or key.kid == kid)
        ]
        return fitting[0] if len(fitting) == 1 else None

    def has(self, kid: str) -> bool:
        """Return whether any key has this id."""
        return any(key.kid == kid for key in self.keys)


def parse_key_set(body: bytes, algorithms: Collection[str]) -> KeySet:
    """Return the keys of a JWKS document that verify signatures by some of `algorithms`.

    Keys that encrypt are left out; wrong ones are named in `skipped`. Of keys that agree in id and algorithms
    the first one counts. Raise ValueError if the document itself is wrong.
    """
    document = parse_object(body)
    entries = document.get("keys")
    if not isinstance(entries, list):
        raise ValueError("has no list `keys`")  # noqa: TRY004 - a problem of the document, like all others
    keys: dict[tuple[object, frozenset[str]], SigningKey] = {}
    skipped = (
        [f"{len(entries) - MAX_KEYS} keys after the first {MAX_KEYS}"] if len(entries) > MAX_KEYS else []
    )
    for number, entry in enumerate(entries[:MAX_KEYS], 1):
        try:
            key = _read_key(entry, algorithms)
        except ValueError as error:
            skipped.append(f"key {number} {error}")
            continue
        if key is None:
            continue
        # Several keys without an id stay, so that none of them is the only one.
        if keys.setdefault((key.kid or number, key.algorithms), key) is not key:
            skipped.append(f"key {number} has the id of another one")
    return KeySet(tuple(keys.values()), tuple(skipped))


def parse_object(body: bytes) -> dict[str, Any]:
    """Return a JSON object; raise ValueError if it is none."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ValueError("is not JSON") from error
    if not isinstance(document, dict):
        raise ValueError("is not a JSON object")  # noqa: TRY004 - a problem of the document, like all others
    return document


def _read_key(entry: object, allowed: Collection[str]) -> SigningKey | None:
    """Return the key, or None for one that is not for signatures; raise ValueError for a wrong one."""
    if not isinstance(entry, dict):
        raise ValueError("is not a JSON object")  # noqa: TRY004 - a problem of the document, like all others
    operations = entry.get("key_ops", ["verify"])
    if entry.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        return None
    kid = entry.get("kid")
    if kid is not None and not (isinstance(kid, str) and 0 < len(kid) <= MAX_KID_LENGTH):
        raise ValueError(f"has an id that is not a text of at most {MAX_KID_LENGTH} characters")
    possible = _possible_algorithms(entry)
    own = entry.get("alg")
    algorithms = frozenset(name for name in possible if name in allowed and (own is None or own == name))
    if not algorithms:
        raise ValueError(f"is for {_shown(own) if own else ' or '.join(possible)}, which is not accepted")
    public = _read_public_key(entry, possible[0])
    encoded = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return SigningKey(kid, algorithms, encoded, public)


def _possible_algorithms(entry: dict[str, Any]) -> tuple[str, ...]:
    kind, curve = entry.get("kty"), entry.get("crv", "")
    if not isinstance(kind, str) or not isinstance(curve, str):
        raise ValueError("has no type")  # noqa: TRY004 - a problem of the document, like all others
    possible = _ALGORITHMS.get((kind, "" if kind == "RSA" else curve))
    if possible is None:
        raise ValueError(f"has the type {_shown(kind)} {_shown(curve)}, which is not accepted")
    return possible


def _read_public_key(entry: dict[str, Any], algorithm: str) -> AllowedPublicKeys:
    if "d" in entry:
        raise ValueError("is a private key")
    try:
        key: AllowedPublicKeys = jwt.PyJWK(entry, algorithm).key
    except (jwt.PyJWTError, UnsupportedAlgorithm, ValueError, TypeError, OverflowError) as error:
        raise ValueError("is not valid") from error
    if isinstance(key, RSAPublicKey) and not _MIN_RSA_BITS <= key.key_size <= _MAX_RSA_BITS:
        raise ValueError(f"has {key.key_size} bits, not {_MIN_RSA_BITS} to {_MAX_RSA_BITS}")
    return key


def _shown(value: object) -> str:
    return repr(value)[:40]
