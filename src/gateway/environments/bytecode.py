"""Finds functions in pickles: cloudpickle stores them as bytecode, which one minor version of Python runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_SUFFIXES: Final = frozenset({".pkl", ".pickle", ".joblib", ".cloudpickle"})
# The names by which cloudpickle makes functions, of all its versions since 0.5.
_MARKS: Final = (b"_make_function", b"_make_skel_func", b"_fill_function", b"_builtin_type")
_CHUNK_BYTES: Final = 2**20  # a search in more would keep all other threads waiting
_OVERLAP_BYTES: Final = max(map(len, _MARKS)) - 1


def has_pickled_functions(folder: Path) -> bool:
    """Return whether a pickle in the folder, as far as its name tells it, has a function by its bytecode.

    Nothing is unpickled. A compressed pickle is not looked into.
    """
    pickles = (path for path in folder.rglob("*") if path.suffix in _SUFFIXES)
    return any(_has_mark(path) for path in pickles if path.is_file() and not path.is_symlink())


def _has_mark(path: Path) -> bool:
    end = b""
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            part = end + chunk
            if any(mark in part for mark in _MARKS):
                return True
            end = part[-_OVERLAP_BYTES:]
    return False
