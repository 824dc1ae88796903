"""The environment of the workers: that of the gateway without settings and secrets."""

from __future__ import annotations

import ctypes
import re
import resource
import signal
import sys
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_OWN_PREFIXES: Final = ("GATEWAY_", "MLFLOW_TRACKING_", "MLFLOW_S3_", "UV_")
_OWN_NAMES: Final = frozenset({"MLFLOW_REGISTRY_URI", "MLFLOW_WORKSPACE"})
# Of these, names that look like secrets are the gateway's own.
_STORE_PREFIXES: Final = ("AWS_", "MLFLOW_")
# Models get these only if the operator names them: credentials of clouds, and the choice of an MLflow run.
_WITHHELD_PREFIXES: Final = (
    "AWS_",
    "AZURE_",
    "GOOGLE_",
    "DATABRICKS_",
    "MLFLOW_EXPERIMENT_",
    "MLFLOW_RUN_",
)
# Without these, each library of each model uses all cores, and idle OpenMP threads keep them busy.
_THREAD_VARIABLES: Final = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
_SECRET_NAME: Final = re.compile(
    r"SECRET|TOKEN(?!IZ)|PASS(?:W|PHRASE|$|_)|(?<!^)(?<!^OLD)PWD$|CREDENTIAL|API_?KEY|_KEY$|ACCESS_?KEY"
    r"|PRIVATE_?KEY|AUTH(?!OR)|DSN|(?:^|_)JWT(?:_|$)|_SAS$|CONNECTION_STRING|WEBHOOK",
    re.IGNORECASE,
)
_SWITCH: Final = re.compile(r"true|false|yes|no|on|off|0|1", re.IGNORECASE)  # values that no secret has
_URL_CREDENTIALS: Final = re.compile(r"://[^/@\s]*@|://[^@\s]*:[^@\s]*@|\b(?:pwd|password)=", re.IGNORECASE)


def worker_environment(
    environment: Mapping[str, str], *, threads: int, allowed: Iterable[str] = ()
) -> dict[str, str]:
    """Return `environment` without settings, credentials and values that look like secrets.

    A user who can register a model can run code in a worker, and read its environment. Names that match a
    pattern of `allowed` are kept, except for the gateway's own. Numeric libraries use `threads` threads,
    unless `environment` sets another number.
    """
    public = public_environment(environment, allowed=allowed)
    return dict.fromkeys(_THREAD_VARIABLES, str(threads)) | {"OMP_WAIT_POLICY": "PASSIVE"} | public


def public_environment(environment: Mapping[str, str], *, allowed: Iterable[str] = ()) -> dict[str, str]:
    """Return `environment` without settings, credentials and values that look like secrets.

    Names that match a pattern of `allowed` are kept, except for the gateway's own.
    """
    patterns = tuple(allowed)
    return {name: value for name, value in environment.items() if _is_public(name, value, patterns)}


def is_own_secret(name: str) -> bool:
    """Return whether this variable configures the gateway itself, or is a credential of its own."""
    return (
        name.startswith(_OWN_PREFIXES)
        or name in _OWN_NAMES
        or (name.startswith(_STORE_PREFIXES) and bool(_SECRET_NAME.search(name)))
    )


def disable_process_inspection() -> None:
    """Forbid other processes of this user to trace this one, or to read its memory and environment.

    Workers run as the same user, and could otherwise read in `/proc` what `worker_environment` removes. The
    kernel then writes no core dump of this process. Does nothing on other systems than Linux.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0)


def prepare_for_secrets() -> None:
    """Hide this process, have it end with its parent, and let no process below it write a core dump.

    For a program that is given secrets once it runs: nothing hides what it gets at its start.
    """
    disable_process_inspection()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _is_public(name: str, value: str, patterns: Iterable[str]) -> bool:
    if is_own_secret(name):
        return False
    if any(fnmatchcase(name, pattern) for pattern in patterns):
        return True
    looks_secret = bool(_SECRET_NAME.search(name)) and not _SWITCH.fullmatch(value)
    return not (name.startswith(_WITHHELD_PREFIXES) or looks_secret or _URL_CREDENTIALS.search(value))
