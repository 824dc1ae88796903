"""The access file in force. It is exchanged when the file changes, and kept while the file is broken."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from gateway.auth.access_file.change_detector import ChangeDetector, signature
from gateway.auth.access_file.differences import find_changes, log_loaded, log_rejected
from gateway.auth.access_file.model import EMPTY, TokenHolder
from gateway.auth.access_file.parser import parse_access_file
from gateway.auth.access_file.problems import AccessFileError
from gateway.auth.access_file.reader import Content, read_content
from gateway.concurrency.threads import in_thread

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gateway.auth.access_file.change_detector import Signature
    from gateway.auth.access_file.differences import Changes
    from gateway.auth.access_file.model import AccessFile
    from gateway.auth.rights import Rights
    from gateway.domain.limits import Limits

INTERVAL_SECONDS: Final = 0.5


class AccessFileStore:
    """A holder of the access file in force, `current`, which is exchanged as a whole.

    A change is seen within three looks, which are `interval_seconds` apart. `generation` grows with each
    exchange, for those that keep what the file says. Without a path, `current` stays empty.
    """

    def __init__(self, path: Path | None, *, interval_seconds: float = INTERVAL_SECONDS) -> None:
        self.current: AccessFile = EMPTY
        self.generation = 0
        self._path = path
        self._interval_seconds = interval_seconds
        self._detector = ChangeDetector()
        self._requested = asyncio.Event()
        self._digest: bytes | None = None
        self._rejected: tuple[bytes | None, tuple[str, ...]] | None = None

    def load(self) -> None:
        """Read the file for the first time; raise AccessFileError with every problem."""
        if self._path is None:
            return
        seen = signature(self._path)
        content = read_content(self._path)
        self._accept(content, parse_access_file(content.data), None, seen=seen)

    def request(self) -> None:
        """Have the file read again at once, as for SIGHUP; call it in the event loop's thread."""
        self._requested.set()

    def rights_for_token(
        self, issuer: str, subject: str, groups: Sequence[str]
    ) -> tuple[Rights, Limits, bool] | None:
        """Return the rights and limits of the holder of a verified token; None if the file has none.

        The last value says whether the file has the subject itself, not only a group or all holders.
        """
        found = self.current.for_token(issuer, subject, groups)
        if found is None:
            return None
        named = TokenHolder(issuer, subject=subject) in self.current.token_holders
        return found.rights, found.limits, named

    def rights_for_certificate(self, names: Sequence[str]) -> tuple[str, Rights, Limits] | None:
        """Return the first of the names that the file has, its rights and limits; None if it has none."""
        found = self.current.for_certificate(names)
        return None if found is None else (found[0], found[1].rights, found[1].limits)

    async def run(self) -> None:
        """Look for changes until cancelled."""
        while self._path is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._interval_seconds):
                    await self._requested.wait()
            await self.look(self._path)

    async def look(self, path: Path) -> None:
        """Read the file if it has changed or that is requested; log why it cannot be used, once."""
        seen = await in_thread(signature, path)
        if not self._detector.must_read(seen) and not self._requested.is_set():
            return
        self._requested.clear()
        content = None
        try:
            content = await in_thread(read_content, path)
            if content.digest == self._digest and self._rejected is None:
                self._detector.was_read(seen, changed=False)
            else:
                found, changes = await in_thread(_parse, content.data, self.current)
                self._accept(content, found, changes, seen=seen)
        except AccessFileError as error:
            self._reject(content, error, seen=seen)

    def _accept(
        self, content: Content, found: AccessFile, changes: Changes | None, *, seen: Signature
    ) -> None:
        self.current = found
        self.generation += 1
        log_loaded(found, changes)
        self._digest, self._rejected = content.digest, None
        self._detector.was_read(seen, changed=True)

    def _reject(self, content: Content | None, error: AccessFileError, *, seen: Signature) -> None:
        rejected = None if content is None else content.digest, error.problems
        if rejected != self._rejected:
            log_rejected(error, self.current)
        self._detector.was_read(seen, changed=rejected != self._rejected)
        self._rejected = rejected


def _parse(data: bytes, before: AccessFile) -> tuple[AccessFile, Changes]:
    found = parse_access_file(data)
    return found, find_changes(before, found)
