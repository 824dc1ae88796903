"""Decides whether a version's cached files are those that this gateway, or another with its key, stored."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from gateway.artifacts import manifest
from gateway.artifacts.integrity import VerifiedFiles
from gateway.concurrency.threads import in_digest_thread, in_thread

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.artifacts.layout import ModelPaths
    from gateway.artifacts.manifest import Manifest
    from workers.protocol.messages import ModelKey

logger = logging.getLogger(__name__)


class FileVerifier:
    """A verifier that digests a version's files once, and again when they have changed."""

    def __init__(self, key: str, *, only_folders: bool) -> None:
        """Sign manifests with `key` and trust no others, unless it is empty. See `VerifiedFiles`."""
        self._key = key
        self._verified = VerifiedFiles(only_folders=only_folders)

    async def is_unchanged(self, key: ModelKey, paths: ModelPaths) -> bool:
        """Return whether the files were verified and have not changed since."""
        return await in_thread(self._verified.is_unchanged, key, paths.folder)

    async def find_problem(self, key: ModelKey, paths: ModelPaths) -> str | None:
        """Return what is wrong with the files, empty if there are none, or None if they are intact.

        Files beside those of an intact version are removed.
        """
        if await self.is_unchanged(key, paths):
            return None
        stored = await in_thread(manifest.load_manifest, paths.manifest)
        if stored is None:
            return "no readable manifest" if await in_thread(os.path.lexists, paths.folder) else ""
        return await in_digest_thread(self._verify_digests, key, paths, stored=stored)

    def sign(self, content: Manifest, paths: ModelPaths) -> Manifest:
        """Return the manifest, signed if there is a key."""
        return content.signed(self._key, paths.folder.name) if self._key else content

    def record_manifest(self, key: ModelKey, content: Manifest) -> None:
        """Record the manifest of files that were just stored: another one is not trusted later."""
        self._verified.record_manifest(key, content.digest)

    async def record_files(self, key: ModelKey, paths: ModelPaths) -> None:
        """Record files that were just stored as verified."""
        self._verified.record(key, await in_thread(self._verified.fingerprint, paths.folder))

    def _verify_digests(self, key: ModelKey, paths: ModelPaths, *, stored: Manifest) -> str | None:
        before = self._verified.fingerprint(paths.folder)
        problem = self.distrust(key, paths, stored) or stored.verify(paths.files)
        if problem is None:
            removed = _remove_unexpected(key, stored.unexpected_files(paths.files))
            self._verified.record(key, frozenset(entry for entry in before if entry[0] not in removed))
            self._verified.record_manifest(key, stored.digest)
        return problem

    def distrust(self, key: ModelKey, paths: ModelPaths, stored: Manifest) -> str | None:
        """Return why the manifest may not be this gateway's, or None."""
        if self._key and not stored.is_signed(self._key, paths.folder.name):
            return "the list of files is not signed with GATEWAY_CACHE_KEY"
        if self._verified.is_other_manifest(key, stored.digest):
            return "the list of files is another than before"
        return None


def _remove_unexpected(key: ModelKey, unexpected: list[Path]) -> set[str]:
    """Remove these files, which a model could import as modules; return their paths."""
    for path in unexpected:
        path.unlink(missing_ok=True)
    # Not logged: Python's own byte code files of a model that has code.
    logged = [path for path in unexpected if "__pycache__" not in path.parts]
    if logged:
        logger.warning(
            "Removed %d unexpected files from the cached files of %s",
            len(logged),
            key,
            extra={"event": "unexpected_files_removed", "model": str(key), "files": len(logged)},
        )
    return {str(path) for path in unexpected}
