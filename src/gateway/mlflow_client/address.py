"""Where the MLflow server is."""

from __future__ import annotations

from yarl import URL

_HOW = (
    "Run `mlflow server --backend-store-uri sqlite:///mlflow.db --port 5000` over that store "
    "and set {name} to its address, for example http://127.0.0.1:5000."
)


def tracking_url(text: str, *, name: str = "MLFLOW_TRACKING_URI") -> URL:
    """The address of an MLflow server, with whatever path prefix it has.

    Raises ValueError saying what to run and what to set where `text` is anything but an http(s)
    address; the text never holds the address's own user name and password.
    """
    how = _HOW.format(name=name)
    if not text.strip():
        raise ValueError(f"{name} is not set. {how}")
    try:
        url = URL(text.strip())
    except ValueError as error:
        raise ValueError(f"{name} is not an address. {how}") from error
    if url.scheme not in {"http", "https"} or not url.host:
        raise ValueError(f"{name} must be an http or https address of an MLflow server. {how}")
    if url.query_string or url.fragment:
        raise ValueError(f"{name} must end with the path: without `?` and `#`.")
    return url
