"""Every setting, read once from the environment and `.env`; the only reader of the environment.

The fields' descriptions are what `gateway serve --help` prints and what `env.template` says.
"""

from gateway.settings.loader import (
    GROUPS,
    CurrentSettings,
    SettingsError,
    aliases,
    env_names,
    load,
    read_environment,
    validate_settings,
)
from gateway.settings.schema import Settings
from gateway.settings.upstream import MlflowSettings, S3Settings

__all__ = [
    "GROUPS",
    "CurrentSettings",
    "MlflowSettings",
    "S3Settings",
    "Settings",
    "SettingsError",
    "aliases",
    "env_names",
    "load",
    "read_environment",
    "validate_settings",
]
