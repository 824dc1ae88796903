"""Folders that workers may read, checked against what must stay unreadable for models."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, BeforeValidator

from gateway.settings.types import expand

if TYPE_CHECKING:
    from collections.abc import Iterator


def _split_folders(value: object) -> object:
    if isinstance(value, str):
        return tuple(word.strip() for word in value.split(os.pathsep) if word.strip())
    return value


def _check_folders(folders: tuple[Path, ...]) -> tuple[Path, ...]:
    expanded = tuple(map(expand, folders))
    for folder in expanded:
        if not folder.is_absolute():
            raise ValueError(f"{str(folder)!r} is not an absolute path")
        if not folder.is_dir():
            raise ValueError(f"{str(folder)!r} is not a folder that exists")
    return expanded


ReadableFolders = Annotated[tuple[Path, ...], BeforeValidator(_split_folders), AfterValidator(_check_folders)]


def check_readable(folders: tuple[Path, ...], *, cache_dir: Path | None) -> None:
    """Raise ValueError if a folder has what models must not read: secrets, or each other's files."""
    for folder in map(Path.resolve, folders):
        for private, reason in _private_folders(cache_dir):
            if private == folder:
                raise ValueError(f"'{folder}' is {reason}")
            if private.is_relative_to(folder):
                raise ValueError(f"'{folder}' contains '{private}', which is {reason}")
        if cache_dir is not None and folder.is_relative_to(cache_dir.resolve()):
            raise ValueError(f"'{folder}' is in the cache folder, which has the files of all models")


def _private_folders(cache_dir: Path | None) -> Iterator[tuple[Path, str]]:
    yield Path.cwd(), "the working folder, where .env is read"
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 - pathlib raises if the user has none
    if home.is_absolute():
        yield home.resolve(), "the home folder, which has credentials"
    if cache_dir is not None:
        yield cache_dir.resolve(), "the cache folder, which has the files of all models"
