"""What a caller presents: credentials in the form that MLflow is sent, and the id of their principal."""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import dataclass, field
from hashlib import blake2b, sha256
from secrets import token_bytes
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

if TYPE_CHECKING:
    from gateway.auth.credentials import Credential

_TOKEN: Final = re.compile(r"[A-Za-z0-9\-._~+/]+=*")  # RFC 6750
_MAX_SECRET: Final = 8192
_MAX_USER: Final = 255  # the column of MLflow's database
_MAX_ID: Final = 128
_SAFE: Final = "@.+-_~"
_DIGEST_CHARACTERS: Final = 12


@dataclass(frozen=True, slots=True)
class Presented:
    """Credentials that MLflow may be asked about; `user` is empty with a token."""

    authorization: str = field(repr=False)
    user: str


def present(credential: Credential) -> Presented | None:
    """Return the credentials as MLflow is sent them, or None if they cannot be right."""
    secret = credential.secret
    if len(secret) > _MAX_SECRET:
        return None
    if credential.kind == "bearer":
        return Presented(f"Bearer {secret}", "") if _TOKEN.fullmatch(secret) else None
    user, colon, password = secret.partition(":")
    if credential.kind != "basic" or not (colon and user and password) or len(user) > _MAX_USER:
        return None
    try:
        return Presented(f"Basic {b64encode(secret.encode()).decode()}", user)
    except UnicodeEncodeError:
        return None


def principal_id(name: str) -> str:
    """Return the id of a user: other characters than letters, digits and `@.+-_~` are percent-encoded."""
    text = quote(name, safe=_SAFE, errors="surrogatepass")
    if len(text) <= _MAX_ID:
        return text
    digest = sha256(text.encode()).hexdigest()[:_DIGEST_CHARACTERS]
    return f"{text[: _MAX_ID - _DIGEST_CHARACTERS - 1]}:{digest}"


def token_id(authorization: str) -> str:
    """Return the id of the holder of a token without a name; the colon keeps it apart from users' ids."""
    return f"token:{sha256(authorization.encode()).hexdigest()[:_DIGEST_CHARACTERS]}"


class Digests:
    """Keys of credentials that tell nothing of them: the digest's own key is random and stays here."""

    def __init__(self) -> None:
        self._key = token_bytes(32)

    def of(self, credential: Credential) -> bytes:
        """Return the key of a credential."""
        text = f"{credential.kind} {credential.secret}".encode(errors="surrogatepass")
        return blake2b(text, digest_size=32, key=self._key).digest()
