"""Every setting, read once from the environment and `.env`; the only reader of the environment.

The fields' descriptions are what `gateway serve --help` prints and what `env.template` says.
"""

from gateway.settings.loader import PARTS, Current, SettingsError, aliases, load, merged, names, validated
from gateway.settings.schema import Settings
from gateway.settings.upstream import MlflowSettings, S3Settings

__all__ = [
    "PARTS",
    "Current",
    "MlflowSettings",
    "S3Settings",
    "Settings",
    "SettingsError",
    "aliases",
    "load",
    "merged",
    "names",
    "validated",
]
