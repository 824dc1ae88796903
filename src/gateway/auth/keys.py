"""Recognise the holders of API keys."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from gateway.auth.access_file.key import digest
from gateway.auth.errors import Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.auth.access_file.store import AccessFileStore
    from gateway.auth.credentials import Credential
    from gateway.auth.principal import Principal

_REFUSAL: Final = "The API key is not valid."


class KeyAuthenticator:
    """A recogniser of API keys by the access file in force."""

    def __init__(self, store: AccessFileStore, *, clock: Callable[[], float] = time.time) -> None:
        """`clock` returns seconds since 1970."""
        self._store = store
        self._clock = clock

    def recognise(self, credential: Credential) -> Principal:
        """Return the principal of a key; raise Unauthenticated if it has none.

        Malformed, unknown, expired and revoked keys take the same steps and get the same answer. No text is
        compared with a secret: one digest is looked up among others.
        """
        principal = self._store.current.key(digest(credential.secret), self._clock())
        if principal is None:
            raise Unauthenticated(_REFUSAL, source="keys")
        return principal
