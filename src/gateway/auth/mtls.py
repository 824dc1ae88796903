"""Callers that are known by the names in their certificates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cachetools import LRUCache

from gateway.auth.grants import NO_RIGHTS
from gateway.auth.principal import Principal

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from gateway.auth.rights import Rights
    from gateway.domain.limits import Limits

_MAX_PRINCIPALS: Final = 4096


class MtlsAuthenticator:
    """A lookup of principals by names that were proven: by TLS, or by a trusted proxy."""

    def __init__(
        self,
        rights_for: Callable[[Sequence[str]], tuple[str, Rights, Limits] | None],
        *,
        generation: Callable[[], Hashable],
    ) -> None:
        """`rights_for` returns the name that the access file has, and what it may do; None for unknown names.

        Its answers are kept until `generation` returns something else.
        """
        self._rights_for = rights_for
        self._generation = generation
        self._known_generation: Hashable = None
        self._known: LRUCache[tuple[str, ...], Principal] = LRUCache(_MAX_PRINCIPALS)

    def recognise(self, names: Sequence[str]) -> Principal | None:
        """Return the principal, without any right if the access file does not have it; None without names."""
        if not names:
            return None
        if (generation := self._generation()) != self._known_generation:
            self._known.clear()
            self._known_generation = generation
        key = tuple(names)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._look_up(key)
        return found

    def _look_up(self, names: tuple[str, ...]) -> Principal:
        found = self._rights_for(names)
        if found is None:
            return Principal(names[0], "mtls", NO_RIGHTS)
        name, rights, limits = found
        return Principal(name, "mtls", rights, limits, configured=True)
