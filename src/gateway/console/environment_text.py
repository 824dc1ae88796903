"""The Python environment of a version, in words for its page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.console.text import DASH

if TYPE_CHECKING:
    from gateway.environments.state import EnvironmentState


_STARTS: Final = (
    "The model is loaded in its own environment, whose first start takes some seconds more. Requests wait "
    "until it is warm."
)


def short(environment: EnvironmentState | None) -> str:
    """Return which environment the version has in this process; a dash if it was never asked for."""
    if environment is None:
        return DASH
    python = f", Python {environment.python}" if environment.python else ""
    return {
        "shared": "the gateway's",
        "building": f"its own{python}: being built",
        "ready": f"its own{python}",
        "failed": "could not be built",
    }[environment.state]


def hint(environment: EnvironmentState | None, *, loading: bool = False) -> str:
    """Return how far the build of the version's environment is, or why it failed, or that the model is being
    loaded in it; else nothing.
    """
    if environment is None or environment.state == "shared":
        return ""
    if environment.state == "ready":
        return _STARTS if loading else ""
    if environment.state == "failed":
        return f"It needs an environment of its own, which could not be built. {environment.reason}"
    progress = f": {environment.progress.text}" if environment.progress else ""
    return f"It gets an environment of its own, with what it requires{progress}. Requests wait for it."
