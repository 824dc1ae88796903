"""An access file after it was read: who may do what, and how much."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from cachetools import LRUCache

from gateway.auth.access_file.entitlement import (
    Entitlement,
    most_generous,
    override_limits,
    unite_patterns,
)
from gateway.auth.grants import NO_RIGHTS
from gateway.auth.principal import Principal
from gateway.domain.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_MAX_TOKEN_HOLDERS: Final = 10_000  # whose entitlements are remembered

NEVER: Final = math.inf


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """One API key: its principal, and what it was given."""

    principal: Principal
    role: str = ""
    entitlement: Entitlement = field(default_factory=lambda: Entitlement({}, Limits()))

    @property
    def expires_at(self) -> float:
        """When the key expires, in seconds since 1970."""
        return self.principal.expires_at


_UNKNOWN_KEY: Final = KeyEntry(Principal("", "keys", NO_RIGHTS, expires_at=-math.inf))


@dataclass(frozen=True, slots=True)
class TokenHolder:
    """Who has a token of `issuer`: one subject, a group, or with neither every holder."""

    issuer: str
    subject: str | None = None
    group: str | None = None

    def __str__(self) -> str:
        """Return the form of the file: `jwt:ISSUER|sub:SUBJECT`."""
        if self.subject is not None:
            return f"jwt:{self.issuer}|sub:{self.subject}"
        return f"jwt:{self.issuer}" if self.group is None else f"jwt:{self.issuer}|group:{self.group}"


@dataclass(frozen=True, slots=True, eq=False)
class AccessFile:
    """The keys by their SHA-256, and the entitlements of holders of tokens and certificates.

    It does not change. `warnings` has what is odd in the file, by line.
    """

    keys: Mapping[bytes, KeyEntry] = field(default_factory=dict)
    roles: Mapping[str, Entitlement] = field(default_factory=dict)
    token_holders: Mapping[TokenHolder, Entitlement] = field(default_factory=dict)
    certificates: Mapping[str, Entitlement] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    _remembered: LRUCache[tuple[str, str, tuple[str, ...]], Entitlement | None] = field(
        default_factory=lambda: LRUCache(_MAX_TOKEN_HOLDERS), repr=False
    )

    def key(self, digest: bytes, now: float) -> Principal | None:
        """Return the principal of a key by its SHA-256, or None if it is unknown or has expired.

        The steps are the same for both. `now` is in seconds since 1970.
        """
        entry = self.keys.get(digest, _UNKNOWN_KEY)
        return entry.principal if now < entry.expires_at else None

    def for_token(self, issuer: str, subject: str, groups: Sequence[str] = ()) -> Entitlement | None:
        """Return what the holder of a verified token may do; None if the file does not mention it.

        The grants of the subject, its groups and the issuer are united. Of each limit, that of the subject
        counts, else the largest of the others. Call it in the event loop's thread only.
        """
        asked = issuer, subject, tuple(groups)
        if asked not in self._remembered:
            self._remembered[asked] = self._find(*asked)
        return self._remembered[asked]

    def for_certificate(self, names: Sequence[str]) -> tuple[str, Entitlement] | None:
        """Return the first of a certificate's names that the file mentions, and what it may do, or None.

        A DNS name is in lower case, so that a caller is one principal however its certificate has it.
        """
        for name in map(certificate_name, names):
            if (found := self.certificates.get(name)) is not None:
                return name, found
        return None

    def _find(self, issuer: str, subject: str, groups: Sequence[str]) -> Entitlement | None:
        own = self.token_holders.get(TokenHolder(issuer, subject=subject))
        holders = [
            TokenHolder(issuer),
            *(TokenHolder(issuer, group=group) for group in dict.fromkeys(groups)),
        ]
        shared = [found for holder in holders if (found := self.token_holders.get(holder)) is not None]
        several = shared if own is None else [own, *shared]
        if len(several) <= 1:
            return several[0] if several else None
        limits = most_generous([each.limits for each in shared])
        if own is not None:
            limits = override_limits(own.limits, limits)
        return Entitlement(unite_patterns(each.patterns for each in several), limits)


EMPTY: Final = AccessFile()
"""The file where there is none: no key is known, and no token or certificate has rights."""


def certificate_name(name: str) -> str:
    """Return the form in which names are compared: case matters in URIs, and not in DNS names."""
    return name if ":" in name else name.lower()
