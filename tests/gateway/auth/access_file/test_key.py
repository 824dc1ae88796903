"""Proves that keys are random, that typing errors show, and that any text has a digest."""

from __future__ import annotations

import string
from hashlib import sha256

from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.auth.access_file.key import KEY_PATTERN, digest, is_well_formed, new_key

ALPHABET = string.digits + string.ascii_letters
positions = st.integers(4, 52)
characters = st.sampled_from(ALPHABET)


def test_a_new_key() -> None:
    """Its hash is that of its text, as other programs compute it."""
    key, hexadecimal = new_key()
    assert is_well_formed(key)
    assert KEY_PATTERN.fullmatch(key)
    assert len(key) == 53
    assert hexadecimal == sha256(key.encode()).hexdigest() == digest(key).hex()


def test_keys_differ_in_every_place() -> None:
    """Every character of the random part takes many values, but the first, which is the highest digit."""
    keys = [new_key()[0] for _ in range(2000)]
    assert len(set(keys)) == 2000
    assert all(len({key[place] for key in keys}) == len(ALPHABET) for place in range(5, 47))


@given(positions, characters)
def test_one_wrong_character_is_found(place: int, character: str) -> None:
    """In the random part and in the checksum."""
    key, _ = new_key()
    assume(key[place] != character)
    assert not is_well_formed(key[:place] + character + key[place + 1 :])


@given(st.integers(4, 51))
def test_two_swapped_characters_are_found(place: int) -> None:
    """The other error that people make."""
    key, _ = new_key()
    assume(key[place] != key[place + 1])
    assert not is_well_formed(key[:place] + key[place + 1] + key[place] + key[place + 2 :])


@given(st.text(max_size=60))
def test_no_other_text_is_well_formed(text: str) -> None:
    """Nor is a key with anything before or behind it."""
    assert not is_well_formed(text)
    key, _ = new_key()
    assert is_well_formed(key + text) == (text == "")
    assert is_well_formed(text + key) == (text == "")


@given(st.text(st.characters(), max_size=300), st.text(st.characters(), max_size=300))
def test_every_text_has_a_digest(one: str, other: str) -> None:
    """Also one with bytes of a header that are no UTF-8. Different texts differ in it, as far as it looks."""
    assert (digest(one) == digest(other)) == (one[:256] == other[:256])
    digest("\udcff\ud800")
