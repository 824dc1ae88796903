"""Remembers environments in which nothing can run, by digest: for all versions that share them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, Literal

from cachetools import LRUCache

from gateway.artifacts.fetch_backoff import FetchBackoff
from gateway.errors import EnvironmentRefused

if TYPE_CHECKING:
    from workers.errors import EnvironmentBroken

logger = logging.getLogger(__name__)
_MAX_ENTRIES: Final = 1_000


class BrokenEnvironments:
    """A record of environments that did not start. Each is built anew once, since its files may be damaged.

    One that does not start then either counts as broken for `seconds` seconds.
    """

    def __init__(self, seconds: float) -> None:
        self._rebuilds: LRUCache[str, Literal["wanted", "done"]] = LRUCache(_MAX_ENTRIES)
        self._broken: FetchBackoff[str] = FetchBackoff(seconds)

    def report(self, error: EnvironmentBroken) -> bool:
        """Note that an environment did not start; return whether it is to be built anew."""
        rebuild = self._rebuilds.setdefault(error.digest, "wanted") == "wanted"
        if not rebuild:
            self._broken.record(error.digest, EnvironmentRefused(str(error)))
        logger.error(
            "Nothing can run in the environment %s: %s %s",
            error.digest[:12],
            error,
            "It is built again" if rebuild else "It was built again already",
            extra={
                "event": "environment_broken",
                "environment": error.digest,
                "reason": str(error),
                "rebuild": rebuild,
            },
        )
        return rebuild

    def note_built(self, digest: str) -> None:
        """Note that an environment has been built: one that had not started has had its second chance."""
        if digest in self._rebuilds:
            self._rebuilds[digest] = "done"

    def raise_if_broken(self, digest: str) -> None:
        """Raise EnvironmentRefused with the reason while an environment counts as broken."""
        self._broken.raise_if_active(digest)
