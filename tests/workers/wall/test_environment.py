"""Proves that libraries of a confined worker find a place for their caches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.confined import run
from workers.wall.environment import confined_variables

if TYPE_CHECKING:
    from tests.support.confined import Grounds


def test_home_is_the_temporary_folder() -> None:
    """Home cannot be read, and libraries create folders in it."""
    changes = confined_variables({"HOME": "/home/gateway", "PATH": "/bin"}, temporary="/run/w")
    assert changes == {"HOME": "/run/w"}


def test_readable_data_at_home_is_still_found() -> None:
    """What the operator downloaded to the default place is named, since HOME no longer leads there."""
    changes = confined_variables(
        {"HOME": "/home/gateway"}, temporary="/run/w", readable=["/home/gateway/.cache/huggingface"]
    )
    assert changes == {"HOME": "/run/w", "HF_HOME": "/home/gateway/.cache/huggingface"}


def test_what_the_operator_set_stays() -> None:
    """A place of data is the operator's choice; one below a readable folder serves as home too."""
    environment = {"HOME": "/srv/models/home", "HF_HOME": "/srv/hf"}
    assert confined_variables(environment, temporary="/run/w", readable=["/srv/models"]) == {}


def test_caches_of_code_are_not_shared() -> None:
    """A compiled kernel that one model wrote would run in another."""
    environment = {
        "HOME": "/run/w",
        "TORCHINDUCTOR_CACHE_DIR": "/run/shared",
        "NUMBA_CACHE_DIR": "/run/w/numba",
    }
    changes = confined_variables(environment, temporary="/run/w", readable=["/run/shared"])
    assert changes == {"TORCHINDUCTOR_CACHE_DIR": "/run/w/torchinductor_cache_dir"}


def test_libraries_use_it(grounds: Grounds) -> None:
    """matplotlib and the XDG folders work without a warning, and write nothing outside."""
    environment = {
        "HOME": str(grounds.root / "home"),
        "XDG_CACHE_HOME": str(grounds.root / "home" / ".cache"),
        "MPLCONFIGDIR": str(grounds.root / "home" / "mpl"),
    }
    code = """
    import os, pathlib, warnings
    warnings.simplefilter("error")
    import matplotlib
    folders = matplotlib.get_configdir(), matplotlib.get_cachedir(), str(pathlib.Path.home())
    pathlib.Path.home().joinpath(".some", "cache").mkdir(parents=True)
    return all(folder.startswith(temporary) for folder in folders)
    """
    changes = confined_variables(environment, temporary=str(grounds.temporary))
    outcome = run(grounds, code, environment=environment | changes)
    assert outcome.value, outcome
