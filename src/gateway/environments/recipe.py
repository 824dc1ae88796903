"""The recipe of a version's environment: what its files ask for, and whether the gateway's own will do."""

from __future__ import annotations

import calendar
import hashlib
import json
import re
import sys
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Final

import yaml

from gateway.domain.mlmodel import check_structure
from gateway.domain.requirements import MAX_LINES, find_differing
from gateway.environments import requirement_lines
from gateway.environments.requirement_lines import RequirementLines
from gateway.errors import EnvironmentRefused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.domain.mlmodel import Mlmodel
    from gateway.settings.environments import EnvironmentMode

REQUIREMENTS, PYTHON_ENV, CONDA = "requirements.txt", "python_env.yaml", "conda.yaml"
_MINOR: Final = re.compile(r"(?:[=~<>!]*\s*)(3\.[0-9]{1,3})(?![0-9])", re.ASCII)


@dataclass(frozen=True, slots=True)
class RecipeFiles:
    """The contents of a version's files that a recipe is made of; None for a file that it does not have."""

    mlmodel: Mlmodel | None = None
    requirements: bytes | None = None
    python_env: bytes | None = None
    conda: bytes | None = None


@dataclass(frozen=True, slots=True)
class Recipe:
    """What an environment is made of: requirements, wheels of the version's own, and a minor Python version.

    `python` is that of the machine that logged the model, such as 3.10, or empty if the files do not tell it.
    `exact` says that no other will do. `as_of` is the last day of the month in which the model was logged.
    """

    lines: RequirementLines = field(default_factory=RequirementLines)
    python: str = ""
    exact: bool = False
    as_of: date | None = None

    def digest(self, *, python: str, own: tuple[str, ...], wheels: Mapping[str, str], dated: bool) -> str:
        """Return a name for the lock: what is resolved, for which Python, with which lines of the gateway.

        `wheels` has the SHA-256 of each wheel of the version, and `dated` says if packages are resolved as
        of the day. Equal requirements of different months have different names.
        """
        parts = [
            sorted(self.lines.plain),
            sorted((path.rpartition("/")[2], digest) for path, digest in wheels.items()),
            [python, sys.platform],
            str(self.as_of) if dated else "",
            sorted(own),
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:40]


def read_recipe(files: RecipeFiles, *, created: datetime | None = None) -> Recipe:
    """Return the recipe; `created` is when the version was registered, if its files do not tell more.

    Raise EnvironmentRefused for files that ask for more than plain requirements.
    """
    python_env, conda = _yaml(files.python_env, PYTHON_ENV), _yaml(files.conda, CONDA)
    return Recipe(
        _lines(files, conda),
        _python(files.mlmodel, python_env, conda),
        exact=files.mlmodel is not None and files.mlmodel.has_bytecode,
        as_of=_end_of_month((files.mlmodel.logged_at if files.mlmodel else None) or created),
    )


def is_needed(
    recipe: Recipe, *, mode: EnvironmentMode, tag: str | None, installed: Mapping[str, str]
) -> bool:
    """Return whether the version gets an environment of its own.

    Its tag decides first. Else one is needed if a requirement is missing here or installed in another
    major.minor version, or if its model is bytecode of another Python than this one.
    """
    if mode == "off" or tag == "shared":
        return False
    if mode == "always" or tag == "own" or recipe.lines.wheels:
        return True
    if recipe.exact and recipe.python not in {"", own_minor()}:
        return True
    return bool(find_differing(recipe.lines.plain, installed))


def own_minor() -> str:
    """Return the minor version of the gateway's own Python, such as 3.11."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _lines(files: RecipeFiles, conda: Mapping[str, object]) -> RequirementLines:
    if files.requirements is not None:
        return requirement_lines.parse_strictly(files.requirements, file=REQUIREMENTS)
    listed = conda.get("dependencies")
    for entry in listed if isinstance(listed, list) else ():
        if isinstance(entry, dict) and isinstance(found := entry.get("pip"), list):
            if len(found) > MAX_LINES or not all(isinstance(line, str) for line in found):
                # The text of a small list can have gigabytes, by aliases of YAML.
                raise EnvironmentRefused(
                    f"The pip part of this version's {CONDA} is no list of requirements."
                )
            return requirement_lines.collect(found, file=CONDA)
    return RequirementLines()


def _python(mlmodel: Mlmodel | None, python_env: Mapping[str, object], conda: Mapping[str, object]) -> str:
    listed = conda.get("dependencies")
    of_conda = next(
        (
            entry.removeprefix("python")
            for entry in (listed if isinstance(listed, list) else ())
            if isinstance(entry, str) and re.match(r"python[\s=<>~!]", entry)
        ),
        "",
    )
    named = python_env.get("python")
    told = mlmodel.python_version if mlmodel else None
    for text in (named if isinstance(named, str) else "", told or "", of_conda):
        if (found := _MINOR.match(text.strip())) is not None:
            return found[1]
    return ""


def _yaml(data: bytes | None, file: str) -> Mapping[str, object]:
    """Return the mapping of an untrusted YAML file with all scalars as text; raise EnvironmentRefused."""
    if data is None:
        return {}
    try:
        check_structure(data)
        document = yaml.load(data, yaml.CBaseLoader)  # noqa: S506 - creates only text, lists and dicts
    except (yaml.YAMLError, UnicodeError, ValueError) as error:
        raise EnvironmentRefused(f"This version's {file} is not YAML that an environment needs.") from error
    return document if isinstance(document, dict) else {}


def _end_of_month(moment: datetime | None) -> date | None:
    if moment is None:
        return None
    day = moment.astimezone(UTC).date()
    return day.replace(day=calendar.monthrange(day.year, day.month)[1])
