"""`gateway environment`: show, lock, build and export the environment of one model version."""

from __future__ import annotations

import argparse
import asyncio
import sys
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.artifacts import disk_errors
from gateway.artifacts.cache import ArtifactCache
from gateway.catalog import Catalog
from gateway.domain.refs import parse_pinned
from gateway.environments.factory import create_environments
from gateway.errors import GatewayError
from gateway.mlflow_client import MlflowClient
from gateway.model_files.version_files import VersionFiles
from gateway.model_files.version_recipes import VersionRecipes
from gateway.settings import CurrentSettings
from workers.metrics import Counters

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from gateway.domain.models import ModelVersion
    from gateway.domain.refs import ModelRef
    from gateway.environments.environments import Environments
    from gateway.settings import Settings

    LoadSettings = Callable[[Mapping[str, str]], Settings]
    Action = Callable[[Environments, ModelVersion, argparse.Namespace], Awaitable[str]]

_SHARED: Final = "needs no environment of its own: the gateway's has what it requires"


def add_parser(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], load_settings: LoadSettings
) -> None:
    """Add `gateway environment` and its own commands, which read the settings as `serve` does."""
    parser = commands.add_parser("environment", help="show, lock, build or export a version's environment")
    parser.set_defaults(run=partial(_print_help, parser))
    own = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name, action, summary in (
        ("show", _show, "say whether a version needs an environment, and what it would be made of"),
        ("lock", _lock, "print the lock of a version's environment, or write it to a folder"),
        ("build", _build, "build a version's environment now, so that no request waits for it"),
        ("export", _export, "fill a folder with a version's wheels, for a network without a package index"),
    ):
        command = own.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        command.add_argument("model", metavar="NAME/VERSION", type=_parse_ref, help="or NAME@ALIAS")
        if name in {"lock", "export"}:
            command.add_argument(
                "--folder",
                type=Path,
                required=name == "export",
                help="GATEWAY_ENVIRONMENT_LOCKS" if name == "lock" else "GATEWAY_WHEELS",
            )
        command.set_defaults(run=partial(_run, action, load_settings))


def _print_help(
    parser: argparse.ArgumentParser, _options: argparse.Namespace, _environ: Mapping[str, str]
) -> int:
    parser.print_help()
    return 0


def _parse_ref(text: str) -> ModelRef:
    try:
        return parse_pinned(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _run(
    action: Action, load_settings: LoadSettings, options: argparse.Namespace, environ: Mapping[str, str]
) -> int:
    try:
        text = asyncio.run(_with_version(action, load_settings(environ), options))
    except GatewayError as error:
        sys.stderr.write(f"gateway: {error}\n")
        return 1
    sys.stdout.write(f"{text}\n")
    return 0


async def _with_version(action: Action, settings: Settings, options: argparse.Namespace) -> str:
    """Return what `action` says of the version that the options name."""
    current, counters = CurrentSettings(settings), Counters()
    async with AsyncExitStack() as stack:
        mlflow = await stack.enter_async_context(MlflowClient(settings.mlflow))
        catalog = Catalog(mlflow, current, counters=counters)
        stack.push_async_callback(catalog.close)
        artifacts = ArtifactCache(settings, mlflow, counters=counters)
        stack.push_async_callback(artifacts.close)
        await artifacts.open()
        files = VersionFiles(catalog, artifacts)
        stack.push_async_callback(files.close)
        source = VersionRecipes(catalog, artifacts, files)
        environments = create_environments(settings, source, counters=counters)
        await environments.open()
        version = (await catalog.resolve(options.model)).version
        if not environments.enabled:
            return f"{version.key} has no environment of its own: GATEWAY_ENVIRONMENTS is off."
        with disk_errors.translate_os_errors("environments", setting="GATEWAY_ENVIRONMENTS_DIR"):
            return await action(environments, version, options)


async def _show(environments: Environments, version: ModelVersion, _options: argparse.Namespace) -> str:
    prepared = await environments.prepare(version)
    if prepared is None:
        return f"{version.key} {_SHARED}."
    recipe, lock = prepared.recipe, await environments.kept_lock(prepared)
    lines = [
        f"{version.key} needs an environment of its own:",
        f"  Python    {prepared.interpreter.minor} ({prepared.interpreter.path})"
        + (f", logged with {recipe.python}" if recipe.python else ""),
        f"  as of     {recipe.as_of or 'today: the day on which it was logged is not known'}",
        f"  recipe    {prepared.lock_name}",
        *(f"  requires  {line}" for line in (*recipe.lines.plain, *recipe.lines.wheels)),
    ]
    if lock is not None:
        built = await environments.is_built(prepared, lock)
        lines.append(f"  lock      {len(lock.packages)} packages; {'built' if built else 'not built yet'}")
    return "\n".join(lines)


async def _lock(environments: Environments, version: ModelVersion, options: argparse.Namespace) -> str:
    prepared = await environments.prepare(version)
    if prepared is None:
        return f"# {version.key} {_SHARED}."
    text = await environments.resolve(version, prepared)
    if options.folder is None:
        return f"# {prepared.lock_name}.txt\n{text.rstrip()}"
    options.folder.mkdir(parents=True, exist_ok=True)
    path = options.folder / f"{prepared.lock_name}.txt"
    path.write_text(text, encoding="utf-8")
    return f"Wrote {path}: read it, then set GATEWAY_ENVIRONMENT_LOCKS to its folder."


async def _build(environments: Environments, version: ModelVersion, _options: argparse.Namespace) -> str:
    async with environments.lease(version) as environment:
        if environment is None:
            return f"{version.key} {_SHARED}."
        return f"{version.key} has the environment {environment.digest}."


async def _export(environments: Environments, version: ModelVersion, options: argparse.Namespace) -> str:
    prepared = await environments.prepare(version)
    if prepared is None:
        return f"{version.key} {_SHARED}."
    count = await environments.export(version, prepared, options.folder.absolute())
    return f"Wrote the lock of {version.key} and its {count} wheels: set GATEWAY_WHEELS to their folder."
