"""What the workers may see of the gateway's environment: nothing that opens a door."""

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
# Each library takes all cores otherwise, for every model at once, and idle OpenMP threads keep them busy.
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
    """`environment` without settings, credentials of upstreams, and whatever looks like a secret.

    Whoever can register a model can run code in a worker, so the less stands there, the better. Numeric
    libraries are told how many `threads` to use, unless the environment says so itself.
    """
    public = {name: value for name, value in environment.items() if not _is_private(name, value)}
    return dict.fromkeys(_THREAD_VARIABLES, str(threads)) | {"OMP_WAIT_POLICY": "PASSIVE"} | public


def disable_process_inspection() -> None:
    """Let no other process of our user read this one's memory and environment, or trace it.

    Workers run as the same user, and would find in `/proc` what `for_workers` keeps from them. The
    kernel gives up a core dump of this process in exchange. Linux only; elsewhere nothing happens.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0)


def _is_private(name: str, value: str) -> bool:
    return (
        name.startswith(_PRIVATE_PREFIXES)
        or bool(_SECRET_NAME.search(name))
        or bool(_URL_CREDENTIALS.search(value))
    )
