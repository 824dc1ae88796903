"""What a request's headers say of who is calling."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from gateway.auth.errors import AmbiguousCredentials

if TYPE_CHECKING:
    from collections.abc import Sequence

KEY_PREFIX: Final = "gwk_"
_BEARER: Final = "Bearer "
_KEY_START: Final = _BEARER + KEY_PREFIX  # of nearly all keys
CredentialKind = Literal["key", "bearer", "basic"]


class Credential(NamedTuple):
    """A key or token, or a user name and password as `user:password`."""

    kind: CredentialKind
    secret: str

    def __repr__(self) -> str:
        """Return a text without the secret, for logs and traces."""
        return f"Credential({self.kind!r})"


def parse_credential(authorization: Sequence[str], api_key: Sequence[str]) -> Credential | None:
    """Return the credential in the values of `Authorization` and `X-API-Key`, or None if there is none.

    Raise AmbiguousCredentials for several that differ, and for what cannot be read.
    """
    if len(authorization) == 1 and not api_key:
        return _parse_authorization(authorization[0])
    found = {_parse_authorization(value) for value in authorization}
    found |= {Credential("key", value.strip()) for value in api_key}
    if len(found) > 1:
        raise AmbiguousCredentials("The request has more than one credential; send one.")
    return found.pop() if found else None


def _parse_authorization(value: str) -> Credential:
    if value.startswith(_KEY_START) and value[len(_KEY_START) :].isalnum():
        return Credential("key", value[len(_BEARER) :])
    scheme, _, secret = value.strip().partition(" ")
    secret = secret.strip()
    if scheme.lower() == "bearer" and secret and " " not in secret:
        return Credential("key" if secret.startswith(KEY_PREFIX) else "bearer", secret)
    if scheme.lower() == "basic" and secret:
        try:
            pair = base64.b64decode(secret, validate=True).decode()
        except (binascii.Error, ValueError) as error:
            raise AmbiguousCredentials(
                "The Authorization header's user and password are not valid."
            ) from error
        if ":" in pair and "\x00" not in pair:
            return Credential("basic", pair)
    raise AmbiguousCredentials("The Authorization header must be `Bearer` with a key or token, or `Basic`.")
