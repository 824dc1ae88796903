"""Where libraries of a confined worker keep their caches: in its own temporary folder, and not at home."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Read by models, and filled by the operator: found at home if it may be read there.
_DATA: Final = {
    "HF_HOME": ".cache/huggingface",
    "TORCH_HOME": ".cache/torch",
    "KERAS_HOME": ".keras",
    "NLTK_DATA": "nltk_data",
    "STANZA_RESOURCES_DIR": "stanza_resources",
    "EASYOCR_MODULE_PATH": ".EasyOCR",
}
# Written by libraries; by default they are below HOME.
_SCRATCH: Final = (
    "CUDA_CACHE_PATH",
    "CUPY_CACHE_DIR",
    "JOBLIB_TEMP_FOLDER",
    "MPLCONFIGDIR",
    "NUMBA_CACHE_DIR",
    "TORCHINDUCTOR_CACHE_DIR",
    "TRITON_CACHE_DIR",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_RUNTIME_DIR",
    "XDG_STATE_HOME",
)


def confined_variables(
    environment: Mapping[str, str], *, temporary: str, readable: Iterable[str] = ()
) -> dict[str, str]:
    """Return the variables to set in a worker that may write `temporary` alone.

    HOME becomes `temporary`, and so do caches that `environment` puts anywhere else. Caches of data that are
    in a `readable` folder at home are named, because libraries would no longer look there. A cache of code is
    never shared: one model could change what another runs.
    """
    reachable = [Path(temporary), *map(Path, readable)]
    home = environment.get("HOME", "")
    changes: dict[str, str] = {}
    if not _is_in(home, reachable):
        changes["HOME"] = temporary
        for name, place in _DATA.items():
            if name not in environment and home and _is_in(path := str(Path(home, place)), reachable):
                changes[name] = path
    for name in _SCRATCH:
        if name in environment and not _is_in(environment[name], reachable[:1]):
            changes[name] = str(Path(temporary, name.lower()))
    return changes


def _is_in(path: str, folders: Iterable[Path]) -> bool:
    return bool(path) and any(Path(path).is_relative_to(folder) for folder in folders)
