"""The modules that a worker imports, under the oldest Python that an environment may have."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

import grimp
import pytest

import workers

if TYPE_CHECKING:
    from collections.abc import Iterator

OLDEST: Final = (3, 10)
PACKAGE: Final = Path(workers.__path__[0])
STARTS: Final = (  # what the programs of an environment import by name
    "workers.forkserver.start",
    "workers.runtime.environment_worker",
    "workers.runtime.mlflow_access",
    "workers.runtime.model",
    "workers.runtime.preload.environment",
    "workers.wall.multiprocessing_pipes",
)
IMPORT_ALL: Final = """
import importlib, importlib.util, sys
folder, *names = sys.argv[1:]
PACKAGES = {"mlflow", "numpy", "orjson", "pandas", "pyarrow", "simdjson"}
spec = importlib.util.spec_from_file_location(
    "workers", folder + "/__init__.py", submodule_search_locations=[folder]
)
sys.modules["workers"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["workers"])
for name in names:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        assert error.name.partition(".")[0] in PACKAGES, error
print("imported", len(names))
"""


def modules() -> list[str]:
    """Return the modules of the package that a worker of an environment imports."""
    graph = grimp.build_graph("workers", exclude_type_checking_imports=True, cache_dir=None)
    found = {name for start in STARTS for name in (start, *graph.find_upstream_modules(start))}
    return sorted(found)


def file_of(module: str) -> Path:
    """Return the file of a module of the package."""
    path = PACKAGE.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@pytest.fixture(scope="module")
def of_workers() -> list[str]:
    """The modules that a worker imports."""
    return modules()


def test_they_are_all_found(of_workers: list[str]) -> None:
    """The codec, the wall and the messages are among them; the gateway's half is not."""
    assert {"workers.codec.csv.table", "workers.wall.seccomp", "workers.protocol.messages"} <= set(of_workers)
    assert not [name for name in of_workers if name.startswith(("workers.pool", "workers.scheduler"))]
    assert not [name for name in of_workers if name.startswith("workers.process.")]


def test_their_syntax_is_old(of_workers: list[str]) -> None:
    """Each is parsed by the grammar of that version."""
    for name in of_workers:
        ast.parse(file_of(name).read_text(), filename=name, feature_version=OLDEST)


def test_that_python_imports_them(of_workers: list[str]) -> None:
    """With no package: those that need one are compiled, up to the import of it."""
    python = next(interpreters(), None)
    if python is None:
        pytest.skip("no Python 3.10 is at a known place of this machine")
    done = subprocess.run(
        [
            python,
            "-I",
            "-W",
            "error",
            "-X",
            "pycache_prefix=/dev/null",
            "-c",
            IMPORT_ALL,
            str(PACKAGE),
            *of_workers,
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout == f"imported {len(of_workers)}\n", done.stderr


def interpreters() -> Iterator[str]:
    """Yield the paths of interpreters of the oldest version; a shim of pyenv's is none."""
    minor = ".".join(map(str, OLDEST))
    root = Path(os.environ.get("PYENV_ROOT") or "~/.pyenv").expanduser()
    yield from map(str, sorted(root.glob(f"versions/{minor}*/bin/python{minor}")))
    found = shutil.which(f"python{minor}", path="/usr/local/bin:/usr/bin:/opt/python/bin")
    if found is not None:
        yield found
