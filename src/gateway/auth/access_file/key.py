"""API keys: their form, how they are made, and the digest that is kept of them."""

from __future__ import annotations

import re
import secrets
import string
import zlib
from hashlib import sha256
from typing import Final

from gateway.auth.credentials import KEY_PREFIX

RANDOM_BITS: Final = 256
MAX_LENGTH: Final = 256
"""What of a presented text is digested, in characters; no key is so long."""

_ALPHABET: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_RANDOM_LENGTH: Final = 43  # the fewest of 62 characters that hold 256 bits
_CHECKSUM_LENGTH: Final = 6  # likewise for the 32 bits of a CRC
KEY_PATTERN: Final = re.compile(
    rf"{KEY_PREFIX}[0-9A-Za-z]{{{_RANDOM_LENGTH + _CHECKSUM_LENGTH}}}(?![0-9A-Za-z])"
)


def new_key() -> tuple[str, str]:
    """Return a new key, and its SHA-256 in hexadecimal digits."""
    body = KEY_PREFIX + _base62(secrets.randbits(RANDOM_BITS), _RANDOM_LENGTH)
    key = body + _checksum(body)
    return key, digest(key).hex()


def digest(text: str) -> bytes:
    """Return the SHA-256 of any text that may be a key. Keys are random, so a slow hash adds nothing."""
    return sha256(text[:MAX_LENGTH].encode(errors="surrogatepass")).digest()


def is_well_formed(text: str) -> bool:
    """Return whether the text has the form and the checksum of a key: one that is mistyped has not."""
    if KEY_PATTERN.fullmatch(text) is None:
        return False
    body, checksum = text[:-_CHECKSUM_LENGTH], text[-_CHECKSUM_LENGTH:]
    return _checksum(body) == checksum


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), _CHECKSUM_LENGTH)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
