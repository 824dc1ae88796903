"""The environment of the workers: that of the gateway without settings and secrets."""

from __future__ import annotations

import ctypes
import re
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_PR_SET_DUMPABLE: Final = 4
_PRIVATE_PREFIXES: Final = (
    "GATEWAY_",
    "MLFLOW_TRACKING_",
    "MLFLOW_S3_",
    "AWS_",
    "AZURE_",
    "GOOGLE_",
    "DATABRICKS_",
)
# Without these, each library of each model uses all cores, and idle OpenMP threads keep them busy.
_THREAD_VARIABLES: Final = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
_SECRET_NAME: Final = re.compile(
    r"SECRET|TOKEN|PASSW|PWD$|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|AUTH|DSN", re.IGNORECASE
)
_URL_CREDENTIALS: Final = re.compile(r"://[^/@\s]*@")


def worker_environment(environment: Mapping[str, str], *, threads: int) -> dict[str, str]:
    """Return `environment` without settings, credentials and values that look like secrets.

    A user who can register a model can run code in a worker, and read its environment. Numeric libraries use
    `threads` threads, unless `environment` sets another number.
    """
    public = {name: value for name, value in environment.items() if not _is_private(name, value)}
    return dict.fromkeys(_THREAD_VARIABLES, str(threads)) | {"OMP_WAIT_POLICY": "PASSIVE"} | public


def disable_process_inspection() -> None:
    """Forbid other processes of this user to trace this one, or to read its memory and environment.

    Workers run as the same user, and could otherwise read in `/proc` what `worker_environment` removes. The
    kernel then writes no core dump of this process. Does nothing on other systems than Linux.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0)


def _is_private(name: str, value: str) -> bool:
    return (
        name.startswith(_PRIVATE_PREFIXES)
        or bool(_SECRET_NAME.search(name))
        or bool(_URL_CREDENTIALS.search(value))
    )
