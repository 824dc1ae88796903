"""An HTTP gateway in front of an MLflow server: every model on it is callable by URL."""
