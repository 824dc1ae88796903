"""What the template imports once, so that each forked worker has it for nothing.

Importing this module does the work: multiprocessing's fork server imports it before it forks. It
swallows an ImportError there, so a worker reports whether `DONE` is set. Nothing here may run
OpenMP code: a fork after that hangs or crashes. What keeps the template itself alive is done here too.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import logging
import os
from contextlib import suppress

from workers.runtime import fork_safety

# A worker's libraries must not phone home, nor ask an MLflow server for what is on disk already.
os.environ.update(
    {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "MLFLOW_TRACKING_URI": "file:///dev/null"}
)

REQUIRED_MODULES = (
    "mlflow.pyfunc",
    "mlflow.pyfunc.scoring_server",
    "pandas",
    "orjson",
    "pyarrow.csv",
    "pyarrow.pandas_compat",
    "pyarrow.parquet",
    "workers.runtime.main",
    "workers.runtime.model",
)
OPTIONAL_MODULES = (
    "narwhals._pandas_like.namespace",  # scikit-learn imports these at the first frame it is given
    "narwhals.stable.v2._namespace",
    "simdjson",
    "sklearn.compose",
    "sklearn.ensemble",
    "sklearn.linear_model",
    "sklearn.neighbors",
    "sklearn.pipeline",
    "sklearn.preprocessing",
    "sklearn.svm",
    "sklearn.tree",
    "skops.io",
    "mlflow.sklearn",
    "lightgbm",
    "xgboost",
)


def _import_all() -> None:
    logger = logging.getLogger(__name__)
    for name in REQUIRED_MODULES:
        importlib.import_module(name)
    for name in OPTIONAL_MODULES:
        if importlib.util.find_spec(name.partition(".")[0]) is None:
            continue
        try:
            importlib.import_module(name)
        except Exception as error:  # noqa: BLE001 - a broken package must not cost the others their start
            logger.warning("Not preloaded: %s (%s).", name, type(error).__name__)
    # No trace could be sent from here, and some flavors warn of that at each call.
    importlib.import_module("mlflow.tracing").disable()


fork_safety.patch_forkserver()
with suppress(OSError):
    os.setpgid(0, 0)  # a terminal's signals, SIGHUP among them, are for the gateway, which ends us in order
_import_all()
gc.collect()
gc.freeze()
DONE = True
