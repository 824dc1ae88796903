"""Python environments for models, beside that of the tests."""

from __future__ import annotations

import sys
import sysconfig
import venv
from typing import TYPE_CHECKING

from workers.wall.policy import WallPolicy
from workers.worker_environment import WorkerEnvironment

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PACKAGES = sysconfig.get_path("purelib")
_MINOR = f"python{sys.version_info.major}.{sys.version_info.minor}"


def make(folder: Path, *, files: Mapping[str, str] | None = None, packages: bool = True) -> WorkerEnvironment:
    """Make an environment that finds the packages of the tests' own; its digest is the folder's name.

    `files` are added to its own packages, by name: `.pth` files and modules. Without `packages` it has no
    other, and starts in no time.
    """
    venv.create(folder, with_pip=False, symlinks=True)
    own = site_packages(folder)
    if packages:
        (own / "of_the_tests.pth").write_text(PACKAGES)
        # A file in the place of the folder: so the packages' own bytecode is used, which takes no time.
        folder.with_name(folder.name + ".bytecode").touch()
    for name, text in (files or {}).items():
        (own / name).write_text(text)
    return WorkerEnvironment(folder.name, str(folder / "bin" / "python"))


def site_packages(folder: Path) -> Path:
    """Return the folder of an environment's packages."""
    return folder / "lib" / _MINOR / "site-packages"


def wall(*models: Path) -> WallPolicy:
    """Return a policy for these environments, whose fork servers may read the models in these folders."""
    return WallPolicy("auto", readable=(PACKAGES,), models=tuple(map(str, models)))
