"""What the gateway tells worker processes by their environment."""

from __future__ import annotations

from typing import Final

NO_MLFLOW_URI: Final = "no-mlflow://gateway"
"""The `MLFLOW_TRACKING_URI` of workers whose models have no access to MLflow."""
