"""How connections begin: what is proven holds for one connection and one side of it alone."""

from __future__ import annotations

from dataclasses import replace

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from gateway.engines.wire import handshake
from gateway.engines.wire.fields import WireError
from gateway.engines.wire.handshake import Challenge, Opening, Verdict

TOKEN = b"k" * 32
BUSY_MACHINE = settings(deadline=None)


def test_messages_survive_a_roundtrip() -> None:
    """A challenge, its answer and both verdicts."""
    challenge = handshake.new_challenge()
    opening = handshake.new_opening(challenge, handshake.new_link(), "large", TOKEN)
    assert handshake.decode_challenge(handshake.encode(challenge)) == challenge
    assert handshake.decode_opening(handshake.encode(opening)) == opening
    for verdict in (Verdict("ab"), Verdict(refusal="why")):
        assert handshake.decode_verdict(handshake.encode(verdict)) == verdict


@BUSY_MACHINE
@given(st.binary(max_size=200))
def test_anything_else_is_a_wire_error(message: bytes) -> None:
    """Whatever its bytes."""
    for decode in (handshake.decode_challenge, handshake.decode_opening):
        with pytest.raises(WireError):
            decode(message)


def test_a_proof_holds_for_what_was_said_alone() -> None:
    """Not for the other side, another connection, lane, link, number, protocol or token."""
    challenge, other = handshake.new_challenge(), handshake.new_challenge()
    opening = handshake.new_opening(challenge, handshake.new_link(), "small", TOKEN)
    assert handshake.proves(opening.proof, TOKEN, "gateway", challenge, opening)
    assert not handshake.proves(opening.proof, TOKEN, "node", challenge, opening)
    assert not handshake.proves(opening.proof, TOKEN, "gateway", other, opening)
    assert not handshake.proves(opening.proof, TOKEN[:-1], "gateway", challenge, opening)
    others: list[Opening] = [
        replace(opening, lane="large"),
        replace(opening, link=handshake.new_link()),
        replace(opening, nonce=other.nonce),
        replace(opening, protocols="1-9"),
    ]
    for said in others:
        assert not handshake.proves(opening.proof, TOKEN, "gateway", challenge, said)
    assert not handshake.proves(opening.proof, TOKEN, "gateway", replace(challenge, protocols="1-9"), opening)
    assert not handshake.proves("é", TOKEN, "gateway", challenge, opening)


def test_numbers_are_used_once() -> None:
    """Neither side repeats one."""
    challenges = {handshake.new_challenge().nonce for _ in range(100)}
    openings = {
        handshake.new_opening(Challenge("1-1", "0" * 64), "0" * 32, "small", b"").nonce for _ in range(100)
    }
    assert len(challenges | openings) == 200


def test_a_refusal_is_short_text() -> None:
    """It comes from who has proven nothing, and gets into logs and on a page."""
    shown = handshake.decode_verdict(handshake.encode(Verdict(refusal="a\x1b[31m\n" + "b" * 2000)))
    assert shown.refusal.isprintable()
    assert len(shown.refusal) == 500
    with pytest.raises(WireError):
        handshake.decode_verdict(b"{" + b" " * 5000 + b"}")
