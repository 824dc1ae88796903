"""An HTTP gateway in front of an MLflow server: every model there is callable by URL."""
