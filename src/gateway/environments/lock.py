"""Locks: the exact packages of an environment with their hashes, resolved once and kept on disk."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from typing import TYPE_CHECKING, Final

from gateway.artifacts.locks import hold_lock, signs_of_life
from gateway.concurrency.threads import in_thread
from gateway.errors import EnvironmentRefused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from gateway.environments.interpreters import Interpreter
    from gateway.environments.recipe import Recipe
    from gateway.environments.store import EnvironmentStore

_FORM: Final = "1"  # of environments: a change of how they are made gives all of them new digests
_MAX_LOCK_BYTES: Final = 4 << 20
_MAX_KEPT: Final = 2_000
_PACKAGE: Final = re.compile(
    r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^]]*\])?\s*(?:==\s*([^\s;\\]+)|@ )", re.MULTILINE
)


@dataclass(frozen=True)
class Lock:
    """The text of a requirements file with every package, pinned and with hashes; `name` is its recipe's."""

    name: str
    text: str

    @property
    def is_portable(self) -> bool:
        """Whether it names no file of this machine, as locks of versions with wheels of their own do."""
        return " @ file://" not in self.text

    @cached_property
    def packages(self) -> tuple[str, ...]:
        """The packages as `name==version`; those from the version's own folder by name alone."""
        return tuple(
            f"{found[1]}=={found[2]}" if found[2] else found[1] for found in _PACKAGE.finditer(self.text)
        )

    def digest(self, interpreter: Interpreter, own: tuple[str, ...]) -> str:
        """Return the digest of the environment: equal for all versions with equal locks."""
        lines = [line.strip() for line in self.text.splitlines() if line.strip() and line[0] != "#"]
        parts = [_FORM, lines, interpreter.minor, interpreter.abi, sorted(own)]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def own_requirements(interpreter: Interpreter) -> tuple[str, ...]:
    """Return what the workers' code needs in every environment: MLflow is the gateway's own version of it."""
    fast = ("pysimdjson>=7",) if interpreter.version < (3, 14) else ()
    return (
        f"mlflow-skinny=={metadata.version('mlflow')}",
        "numpy", "orjson>=3.10", "pandas", "pyarrow>=15", "pydantic>=2", *fast,
    )  # fmt: skip


class LockStore:
    """The locks of recipes: resolved once for all gateways of this machine, or approved beforehand."""

    def __init__(
        self,
        store: EnvironmentStore,
        *,
        approved: Path | None,
        exported: Path | None,
        dated: bool,
        longest: float,
    ) -> None:
        """With `approved`, only the locks in that folder are used. If `dated`, locks are as of a day.

        Those of `exported`, a folder with wheels, are used before those that were resolved here. Wait at most
        `longest` seconds for another process that resolves the same recipe.
        """
        self._store = store
        self._approved = approved
        self._exported = exported
        self._dated = dated
        self._longest = longest

    def name(self, recipe: Recipe, interpreter: Interpreter, wheels: Mapping[str, str]) -> str:
        """Return the name of the recipe's lock; `wheels` has the SHA-256 of each wheel of the version."""
        own = own_requirements(interpreter)
        return recipe.digest(python=interpreter.minor, own=own, wheels=wheels, dated=self._dated)

    async def find(self, name: str) -> Lock | None:
        """Return the lock if it is kept; raise EnvironmentRefused if it must be approved and is not."""
        here = filter(None, (self._exported, self._store.resolved))
        folders = [self._approved] if self._approved else [*here]
        text = await in_thread(_read_first, [folder / f"{name}.txt" for folder in folders])
        if text is None and self._approved is not None:
            raise EnvironmentRefused(
                f"No lock of this version's requirements is approved: {name}.txt is not among those of "
                "GATEWAY_ENVIRONMENT_LOCKS. `gateway environment lock` writes one."
            )
        return None if text is None else Lock(name, text)

    async def get(self, name: str, resolve: Callable[[], Awaitable[str]]) -> Lock:
        """Return the lock; `resolve` it if it is not kept, and keep it. Raise what `resolve` raises."""
        if (lock := await self.find(name)) is not None:
            return lock
        path = self._store.lock_path(name)
        async with hold_lock(path, remove=True, longest=self._longest), signs_of_life(path):
            if (lock := await self.find(name)) is None:
                lock = Lock(name, await resolve())
                await in_thread(_keep, self._store.resolved, lock)
        return lock


def _read_first(paths: Sequence[Path]) -> str | None:
    return next((text for path in paths if (text := _read(path)) is not None), None)


def _read(path: Path) -> str | None:
    try:
        if path.stat().st_size > _MAX_LOCK_BYTES:
            return None
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeError):
        return None
    return text or None  # an empty file is what a crash of the machine left


def _keep(folder: Path, lock: Lock) -> None:
    """Write the lock as a whole or not at all, and remove the oldest of very many."""
    new = folder / f".{secrets.token_hex(8)}"
    new.write_text(lock.text, encoding="utf-8")
    new.rename(folder / f"{lock.name}.txt")
    kept = list(folder.iterdir())
    if len(kept) > _MAX_KEPT:
        for path in sorted(kept, key=os.path.getmtime)[: len(kept) - _MAX_KEPT]:
            path.unlink(missing_ok=True)
