"""How each connection of a link begins: three messages by which both ends prove that they have the token.

The node sends a challenge, the gateway an opening, and the node a verdict. A proof is an HMAC over what both
have sent, so neither end learns the token from the other, and no proof is of use a second time.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass
from secrets import token_hex
from typing import Final, Literal, cast

import orjson

from gateway.engines.wire import protocol
from gateway.engines.wire.fields import Fields, WireError

MAX_HANDSHAKE_BYTES: Final = 4096
_NONCE_BYTES: Final = 32
_LINK_BYTES: Final = 16
_MAX_REASON_CHARACTERS: Final = 500
_NONCE: Final = re.compile(r"[0-9a-f]{64}")
_LINK: Final = re.compile(r"[0-9a-f]{32}")

Side = Literal["gateway", "node"]


@dataclass(frozen=True, slots=True)
class Challenge:
    """What a node sends first: the protocols that it speaks, and a number that is used once."""

    protocols: str
    nonce: str


@dataclass(frozen=True, slots=True)
class Opening:
    """What a gateway answers: its protocols and number, which lane of which link this is, and its proof.

    The proof is empty if it has no token.
    """

    protocols: str
    nonce: str
    link: str
    lane: protocol.Lane
    proof: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a node answers: its proof, empty if it has no token; or why it refuses the connection."""

    proof: str = ""
    refusal: str = ""


def new_challenge() -> Challenge:
    """Return a challenge."""
    return Challenge(protocol.spoken(), token_hex(_NONCE_BYTES))


def new_link() -> str:
    """Return an id that both connections of a link have in common."""
    return token_hex(_LINK_BYTES)


def new_opening(challenge: Challenge, link: str, lane: protocol.Lane, token: bytes) -> Opening:
    """Return the answer to a challenge, with a proof if there is a token."""
    unproven = Opening(protocol.spoken(), token_hex(_NONCE_BYTES), link, lane)
    proof = prove(token, "gateway", challenge, unproven) if token else ""
    return Opening(unproven.protocols, unproven.nonce, link, lane, proof)


def prove(token: bytes, side: Side, challenge: Challenge, opening: Opening) -> str:
    """Return the proof that this side has the token."""
    said = (
        side,
        challenge.protocols,
        challenge.nonce,
        opening.protocols,
        opening.nonce,
        opening.link,
        opening.lane,
    )
    return hmac.digest(token, "\n".join(said).encode(), "sha256").hex()


def proves(proof: str, token: bytes, side: Side, challenge: Challenge, opening: Opening) -> bool:
    """Return whether a side's proof is right. It takes the same time for any wrong one of its length."""
    return hmac.compare_digest(proof.encode(), prove(token, side, challenge, opening).encode())


def encode(message: Challenge | Opening | Verdict) -> bytes:
    """Return the message as JSON."""
    return orjson.dumps(message)


def decode_challenge(message: bytes) -> Challenge:
    """Return what a node sent first. Raise WireError."""
    fields = _fields(message, "a challenge")
    return Challenge(_protocols(fields), _matching(fields, "nonce", _NONCE))


def decode_opening(message: bytes) -> Opening:
    """Return what a gateway answered. Raise WireError."""
    fields = _fields(message, "an opening")
    return Opening(
        _protocols(fields),
        _matching(fields, "nonce", _NONCE),
        _matching(fields, "link", _LINK),
        cast("protocol.Lane", fields.one_of("lane", ("small", "large"))),
        fields.text("proof", ""),
    )


def decode_verdict(message: bytes) -> Verdict:
    """Return what a node answered; of a refusal as much as can be shown to people. Raise WireError."""
    fields = _fields(message, "a verdict")
    refusal = "".join(filter(str.isprintable, fields.text("refusal", "")))
    return Verdict(fields.text("proof", ""), refusal[:_MAX_REASON_CHARACTERS])


def _fields(message: bytes, what: str) -> Fields:
    if len(message) > MAX_HANDSHAKE_BYTES:
        raise WireError(f"{what} of more than {MAX_HANDSHAKE_BYTES} bytes")
    try:
        return Fields(orjson.loads(message), what)
    except orjson.JSONDecodeError:
        raise WireError(f"{what} that is no JSON") from None


def _protocols(fields: Fields) -> str:
    """Return a range of protocols, or other text without a line break, which is chosen from later."""
    text = fields.text("protocols")
    return text if text.isprintable() and len(text) <= 16 else "none"


def _matching(fields: Fields, name: str, pattern: re.Pattern[str]) -> str:
    if pattern.fullmatch(text := fields.text(name)) is None:
        raise WireError(f"a handshake whose {name} has another form")
    return text
