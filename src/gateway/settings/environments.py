"""The settings of environments that model versions have of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator

from gateway.settings.types import (
    ExpandedPath,
    PositiveInt,
    PositiveSeconds,
    SettingsGroup,
    expand,
    split_words,
)
from gateway.system.programs import find_uv

EnvironmentMode = Literal["off", "needed", "always"]


def _check_files(words: tuple[Path, ...]) -> tuple[Path, ...]:
    paths = tuple(map(expand, words))
    for path in paths:
        if not path.is_absolute() or not path.is_file():
            raise ValueError(f"{str(path)!r} is not the absolute path of a file")
    return paths


def _check_folder(path: Path) -> Path:
    expanded = expand(path)
    if not expanded.is_absolute() or not expanded.is_dir():
        raise ValueError(f"{str(path)!r} is not the absolute path of a folder")
    return expanded


Programs = Annotated[tuple[Path, ...], BeforeValidator(split_words), AfterValidator(_check_files)]
ExistingFolder = Annotated[Path, AfterValidator(_check_folder)]


class EnvironmentSettings(SettingsGroup):
    """When a version gets an environment of its own, and what it is made of."""

    chosen_mode: EnvironmentMode | None = Field(
        None,
        alias="GATEWAY_ENVIRONMENTS",
        description="When a model version runs in an environment of its own, with the libraries that it was "
        "logged with. needed: if a requirement is missing here, or installed in another major.minor version; "
        "always: each one; off: none. A version's tag gateway.environment wins. Default: needed where uv is "
        "installed, else off.",
    )
    folder: ExpandedPath | None = Field(
        None,
        alias="GATEWAY_ENVIRONMENTS_DIR",
        description="Folder for environments. With UV_CACHE_DIR, it must be on the same file system. "
        "Default: environments, in GATEWAY_CACHE_DIR.",
    )
    max_bytes: PositiveInt = Field(
        20 * 2**30,
        alias="GATEWAY_ENVIRONMENTS_MAX_BYTES",
        description="Most bytes of disk for all environments; files that several share count once. Beyond "
        "that, the least recently used environment without a loaded model is deleted.",
    )
    running: PositiveInt = Field(
        4,
        alias="GATEWAY_ENVIRONMENTS_RUNNING",
        description="Most environments that have loaded models at once, in each gateway process. Each takes "
        "about 250 MiB beside its models.",
    )
    timeout_seconds: PositiveSeconds = Field(
        600,
        alias="GATEWAY_ENVIRONMENT_TIMEOUT_SECONDS",
        description="Longest time to build an environment, in seconds. A request waits as long as "
        "GATEWAY_REQUEST_TIMEOUT_SECONDS for it; then it is answered with 503, and the build goes on.",
    )
    build_sdists: bool = Field(
        default=False,
        alias="GATEWAY_ENVIRONMENT_BUILD_SDISTS",
        description="true: build packages that have no wheel for this machine. That runs code of the package "
        "with the network and the index's credentials.",
    )
    as_logged: bool = Field(
        default=True,
        alias="GATEWAY_ENVIRONMENT_AS_LOGGED",
        description="true: what a model's requirements leave open is as it was in the month in which the "
        "model was logged; false: as it is today.",
    )
    pythons: Programs = Field(
        (),
        alias="GATEWAY_PYTHONS",
        description="Python interpreters for environments, comma-separated, as absolute paths: "
        "`/usr/bin/python3.10,/opt/python3.12/bin/python`. Default: the gateway's own, and those in usual "
        "places.",
    )
    wheels: ExistingFolder | None = Field(
        None,
        alias="GATEWAY_WHEELS",
        description="Folder with the wheels that environments are built from, for networks without a package "
        "index: nothing else is asked. `gateway environment export` fills one. Without it, the index is that "
        "of uv's own variables, such as UV_DEFAULT_INDEX.",
    )
    locks: ExistingFolder | None = Field(
        None,
        alias="GATEWAY_ENVIRONMENT_LOCKS",
        description="Folder with approved lock files. If set, no environment is built of anything else. "
        "`gateway environment lock` writes one.",
    )

    @property
    def mode(self) -> EnvironmentMode:
        """The mode that the operator chose, else needed where uv is installed."""
        return self.chosen_mode or ("needed" if find_uv() else "off")

    @field_validator("chosen_mode")
    @classmethod
    def _check_uv(cls, mode: EnvironmentMode | None) -> EnvironmentMode | None:
        if mode in {"needed", "always"} and find_uv() is None:
            raise ValueError("needs uv, which is not installed: install the extra `environments`")
        return mode
