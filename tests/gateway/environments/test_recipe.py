"""Proves what a recipe takes from a version's files, and when an environment is needed."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, date, datetime

import pytest

from gateway.domain.mlmodel import Mlmodel
from gateway.environments.interpreters import Interpreter, choose
from gateway.environments.recipe import Recipe, RecipeFiles, is_needed, own_minor, read_recipe
from gateway.environments.requirement_lines import RequirementLines
from gateway.errors import EnvironmentRefused

CONDA = b"""
channels: [conda-forge]
dependencies: [python=3.10.13, 'pip<=24', {pip: [mlflow==2.1, scikit-learn==1.1.3]}]
"""
INSTALLED = {"scikit-learn": "1.9.1", "numpy": "2.5.0"}


def test_requirements_come_from_their_own_file_or_from_conda() -> None:
    """`conda.yaml` is read where there is no `requirements.txt`, and for its Python."""
    recipe = read_recipe(RecipeFiles(conda=CONDA))
    assert (recipe.lines.plain, recipe.python) == (("scikit-learn==1.1.3",), "3.10")
    both = RecipeFiles(requirements=b"numpy==1.0", conda=CONDA, python_env=b"python: 3.12.1")
    recipe = read_recipe(both)
    assert (recipe.lines.plain, recipe.python) == (("numpy==1.0",), "3.12")


def test_the_day_is_the_last_of_the_month() -> None:
    """Versions of one month share their locks; the day of the registration is the second best."""
    logged = Mlmodel(logged_at=datetime(2024, 2, 3, 12, tzinfo=UTC))
    created = datetime(2025, 1, 31, 23, tzinfo=UTC)
    assert read_recipe(RecipeFiles(logged), created=created).as_of == date(2024, 2, 29)
    assert read_recipe(RecipeFiles(), created=created).as_of == date(2025, 1, 31)
    assert read_recipe(RecipeFiles()).as_of is None


@pytest.mark.parametrize(
    "data",
    [b"python: [", b"\xff\xfe", b"[" * 100_000, b"python: !!python/object:os.system x", b"a: &a [*a]", b""],
)
def test_hostile_yaml_is_refused_or_empty(data: bytes) -> None:
    """Neither the file's structure nor its tags reach anything."""
    with suppress(EnvironmentRefused):
        assert read_recipe(RecipeFiles(python_env=data, conda=data)).python == ""


@pytest.mark.parametrize("python", ["-c import os", "3", "4.1", "python3.10", "3.10.1; x", "../3.10"])
def test_only_a_minor_version_is_taken(python: str) -> None:
    """It never becomes an argument of anything as it is written."""
    recipe = read_recipe(RecipeFiles(python_env=f"python: '{python}'".encode()))
    assert recipe.python in {"", "3.10"}


@pytest.mark.parametrize(
    ("lines", "needed"),
    [
        (("scikit-learn==1.9.9",), False),
        (("scikit-learn==1.5.2",), True),
        (("scikit-learn~=1.9.0", "numpy"), False),
        (("numpy<2",), True),
        (("absent",), True),
        (('absent; sys_platform == "win32"',), False),
        ((), False),
    ],
)
def test_another_minor_version_is_not_the_same(lines: tuple[str, ...], *, needed: bool) -> None:
    """A missing package or another major.minor version needs an environment; a range decides by itself."""
    recipe = Recipe(RequirementLines(lines))
    assert is_needed(recipe, mode="needed", tag=None, installed=INSTALLED) is needed
    assert is_needed(recipe, mode="always", tag=None, installed=INSTALLED)
    assert is_needed(recipe, mode="needed", tag="own", installed=INSTALLED)
    assert not is_needed(recipe, mode="always", tag="shared", installed=INSTALLED)
    assert not is_needed(recipe, mode="off", tag="own", installed=INSTALLED)


def test_bytecode_of_another_python_needs_that_python() -> None:
    """A pickled estimator does not, but a pickled class is bytecode."""
    assert is_needed(Recipe(python="3.10", exact=True), mode="needed", tag=None, installed={})
    assert not is_needed(Recipe(python="3.10"), mode="needed", tag=None, installed={})
    assert not is_needed(Recipe(python=own_minor(), exact=True), mode="needed", tag=None, installed={})


def here(*minors: int) -> list[Interpreter]:
    """Return interpreters of these minor versions."""
    return [Interpreter(f"/python3.{minor}", (3, minor), "abi", "/") for minor in minors]


@pytest.mark.parametrize(
    ("logged", "chosen"), [("3.12", "3.12"), ("3.8", "3.10"), ("3.14", "3.13"), ("3.11", "3.12")]
)
def test_the_nearest_python_is_chosen(logged: str, chosen: str) -> None:
    """If two are as near, the newer one."""
    assert choose(here(10, 12, 13), Recipe(python=logged)).minor == chosen


@pytest.mark.parametrize("logged", ["3.8", "3.11"])
def test_bytecode_is_refused_without_its_python(logged: str) -> None:
    """The message names what there is, or that nothing below 3.10 will do."""
    with pytest.raises(EnvironmentRefused, match=r"logged with Python 3\.\d+") as caught:
        choose(here(10, 12), Recipe(python=logged, exact=True))
    assert ("3.10 or newer" if logged == "3.8" else "3.10, 3.12") in str(caught.value)


def test_a_gateway_without_python_refuses() -> None:
    """As where GATEWAY_PYTHONS names none that runs."""
    with pytest.raises(EnvironmentRefused, match="no Python"):
        choose([], Recipe())


@pytest.mark.parametrize("pip", ["[*a39]", "[{name: numpy}]", f"[{'numpy, ' * 2_001}]"])
def test_the_pip_part_of_conda_is_a_list_of_lines(pip: str) -> None:
    """By aliases, a kilobyte of YAML would be a text of more than the machine's memory."""
    laughs = "".join(f"a{number}: &a{number} [*a{number - 1}, *a{number - 1}]\n" for number in range(1, 40))
    conda = f"a0: &a0 [x, x]\n{laughs}dependencies:\n- pip: {pip}\n"
    with pytest.raises(EnvironmentRefused, match=r"pip part of this version's conda\.yaml"):
        read_recipe(RecipeFiles(conda=conda.encode()))
