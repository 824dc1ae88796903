"""Resolves and builds environments: the only one that runs uv."""

from __future__ import annotations

import asyncio
import logging
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.artifacts.layout import remove_tree
from gateway.concurrency.threads import in_thread
from gateway.environments import failures
from gateway.environments.lock import own_requirements
from gateway.environments.wheels_export import export_wheels
from gateway.errors import EnvironmentRefused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from gateway.environments.interpreters import Interpreter
    from gateway.environments.layout import PartialEnvironment
    from gateway.environments.lock import Lock
    from gateway.environments.progress import BuildProgress
    from gateway.environments.recipe import Recipe
    from gateway.environments.uv import Uv
    from gateway.environments.uv_output import UvOutput

logger = logging.getLogger(__name__)
_PROGRESS_SECONDS: Final = 0.5
_ALWAYS: Final = ("numpy", "pandas")  # in the versions of the day; the workers' code needs them
_OPTIONAL: Final = "pysimdjson"
_NUMPY_1: Final = re.compile(r"^numpy==[01]\.", re.MULTILINE)
_FORM: Final = ("--no-header", "--no-annotate", "--generate-hashes")


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """What the operator chooses: a folder with wheels in place of an index, and whether sdists are built.

    `dated`: resolve as of the day on which the model was logged.
    """

    wheels: Path | None = None
    sdists: bool = False
    dated: bool = True


class EnvironmentBuilder:
    """A builder that turns recipes into locks, and locks into folders."""

    def __init__(self, uv: Uv, options: BuildOptions) -> None:
        self._uv = uv
        self._options = options

    async def resolve(
        self, recipe: Recipe, interpreter: Interpreter, *, wheels: Sequence[Path], scratch: Path, model: str
    ) -> str:
        """Return the lock's text: the version's libraries as of the day, and then what workers need.

        `wheels` are the files of the version's own wheels. Raise EnvironmentRefused, UpstreamUnavailable, or
        OSError for a full disk.
        """
        theirs = [*recipe.lines.plain, *(f"{_name(path)} @ {path.as_uri()}" for path in wheels), *_ALWAYS]
        step = _Resolution(self, interpreter, scratch=scratch, read=[str(path) for path in wheels])
        first = await self._resolve_dated(step, theirs, recipe, model=model)
        own = [_beside(line, first) for line in own_requirements(interpreter)]
        # The first lock's versions are kept where what workers need allows it.
        output, text = await step.run([*theirs, *own], kept=first, options=_FORM)
        if text is None and failures.is_unsolvable(output):
            without = [line for line in own if not line.startswith(_OPTIONAL)]
            output, text = await step.run([*theirs, *without], kept=first, options=_FORM)
        if text is None:
            raise self._failure(output, "resolved", model)
        _check_addresses(text, wheels)
        return text

    async def _resolve_dated(
        self, step: _Resolution, theirs: list[str], recipe: Recipe, *, model: str
    ) -> str:
        dated = self._options.dated and recipe.as_of is not None
        options = ("--no-header", "--no-annotate")
        if dated:
            output, text = await step.run(theirs, options=(*options, "--exclude-newer", str(recipe.as_of)))
            if text is not None:
                return text
            if not failures.is_unsolvable(output):
                raise self._failure(output, "resolved", model)
        undated, text = await step.run(theirs, options=options)
        if text is None:
            raise self._failure(undated, "resolved", model)
        if dated:
            _log_undated(model, lacks_times=failures.lacks_upload_times(output))
        return text

    async def build(
        self, lock: Lock, interpreter: Interpreter, partial: PartialEnvironment, *, progress: BuildProgress
    ) -> None:
        """Make the environment in the partial folder. Raise as `resolve` does."""
        file = partial.scratch / "lock.txt"
        await in_thread(file.write_text, lock.text, encoding="utf-8")
        read = [interpreter.prefix, *await in_thread(_local_files, lock.text)]
        await self._make_venv(interpreter, partial, read=read, model=progress.model)
        install = (
            "pip", "install", "--python", str(partial.root / "bin" / "python"), "--requirements", str(file),
            "--require-hashes", "--no-deps", "--link-mode", "hardlink",
        )  # fmt: skip
        async with self._watching(partial.root, progress):
            # An index is asked only for what is not at hand.
            output = await self.run(
                *install, "--offline", scratch=partial.scratch, read=read, write=[str(partial.folder)]
            )
            if output.status and not self._options.wheels:
                # uv asks the folder's interpreter what it is, and that would run what is installed by now.
                await in_thread(remove_tree, partial.root)
                await self._make_venv(interpreter, partial, read=read, model=progress.model)
                output = await self.run(
                    *install, scratch=partial.scratch, read=read, write=[str(partial.folder)]
                )
        if output.status:
            raise self._failure(output, "installed", progress.model)

    async def _make_venv(
        self, interpreter: Interpreter, partial: PartialEnvironment, *, read: Sequence[str], model: str
    ) -> None:
        made = await self.run(
            "venv", "--relocatable", "--no-project", "--python", interpreter.path, str(partial.root),
            scratch=partial.scratch, read=read, write=[str(partial.folder)],
        )  # fmt: skip
        if made.status:
            raise self._failure(made, "built", model)

    async def export(self, lock: Lock, interpreter: Interpreter, *, folder: Path, scratch: Path) -> int:
        """Fill `folder` with the wheels of a lock, and return how many it has. Raise as `resolve` does."""
        return await export_wheels(
            self._uv, lock, interpreter, folder=folder, scratch=scratch, wheels=self._options.wheels
        )

    async def run(
        self, *arguments: str, scratch: Path, read: Sequence[str], write: Sequence[str] = ()
    ) -> UvOutput:
        """Run `uv pip` with what the operator chose of indexes and sdists, or `uv venv`."""
        if arguments[0] == "venv":
            return await self._uv.run(*arguments, scratch=scratch, read=read, write=write)
        chosen: tuple[str, ...] = () if self._options.sdists else ("--only-binary", ":all:")
        wheels = self._options.wheels
        if wheels is None:
            chosen += ("--index-strategy", "first-index")
        else:
            chosen += ("--no-index", "--find-links", str(wheels))
            chosen += () if "--offline" in arguments else ("--offline",)
            read = [*read, str(wheels)]
        return await self._uv.run(*arguments, *chosen, scratch=scratch, read=read, write=write)

    def _failure(self, output: UvOutput, doing: str, model: str) -> Exception:
        logger.warning(
            "uv failed for %s: %s",
            model,
            failures.hide(output.stderr[-4000:], self._uv.secrets),
            extra={"event": "environment_uv_failed", "model": model, "status": output.status},
        )
        return failures.to_error(output, doing=doing, secrets=self._uv.secrets)

    @asynccontextmanager
    async def _watching(self, root: Path, progress: BuildProgress) -> AsyncIterator[None]:
        """During the block, count packages: those that came into uv's cache, and those that are installed."""
        before = await in_thread(_count, self._uv.cache, "archive-v*/*")

        async def look() -> None:
            while True:
                await asyncio.sleep(_PROGRESS_SECONDS)
                fetched = await in_thread(_count, self._uv.cache, "archive-v*/*") - before
                installed = await in_thread(_count, root, "lib/python3*/site-packages/*.dist-info")
                progress.reach(max(fetched, installed))

        task = asyncio.create_task(look(), name=f"watch the environment of {progress.model}")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])


class _Resolution:
    """The calls of uv that resolve one recipe, in one folder."""

    def __init__(
        self, builder: EnvironmentBuilder, interpreter: Interpreter, *, scratch: Path, read: list[str]
    ) -> None:
        self._builder = builder
        self._interpreter = interpreter
        self._scratch = scratch
        self._read = [interpreter.prefix, *read]

    async def run(
        self, lines: Sequence[str], *, options: Sequence[str], kept: str = ""
    ) -> tuple[UvOutput, str | None]:
        """Return uv's output, and the resolved requirements, None if that failed; prefer `kept` versions."""
        source, target = self._scratch / "requirements.in", self._scratch / "requirements.txt"
        await in_thread(source.write_text, "\n".join([*lines, ""]), encoding="utf-8")
        await in_thread(target.write_text, kept, encoding="utf-8")
        output = await self._builder.run(
            "pip", "compile", str(source), "--output-file", str(target), "--python", self._interpreter.path,
            *options, scratch=self._scratch, read=self._read,
        )  # fmt: skip
        return output, None if output.status else await in_thread(target.read_text, encoding="utf-8")


def _check_addresses(text: str, wheels: Sequence[Path]) -> None:
    """Raise EnvironmentRefused if a lock has a package from another address than the version's wheels."""
    own = {path.as_uri() for path in wheels}
    for line in text.splitlines():
        name, at, address = line.partition(" @ ")
        if at and address.split()[0] not in own:
            raise EnvironmentRefused(
                f"A wheel of this version needs {name.strip()[:100]!r} from an address, but packages come"
                " from the operator's index alone."
            )


def _log_undated(model: str, *, lacks_times: bool) -> None:
    why = "its index does not tell when packages were uploaded" if lacks_times else "nothing of that day fits"
    logger.warning(
        "The requirements of %s are resolved as of today, not of the day on which it was logged: %s",
        model,
        why,
        extra={"event": "environment_undated", "model": model, "reason": why},
    )


def _beside(own: str, theirs: str) -> str:
    """Return a requirement of the workers' code, narrowed to what works with the version's own libraries."""
    # From 26 on pyarrow refuses to be imported with NumPy 1, but its metadata does not say so.
    return f"{own},<26" if own.startswith("pyarrow") and _NUMPY_1.search(theirs) else own


def _name(wheel: Path) -> str:
    return wheel.name.split("-")[0].replace("_", "-")


def _local_files(text: str) -> list[str]:
    """Return the paths of the version's own wheels in a lock."""
    words = (word for line in text.splitlines() if " @ file://" in line for word in line.split())
    return [word.removeprefix("file://") for word in words if word.startswith("file:///")]


def _count(folder: Path, pattern: str) -> int:
    return sum(1 for _ in folder.glob(pattern))
