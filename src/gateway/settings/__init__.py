"""Every setting, read once from the environment and `.env`; the only reader of the environment.

The fields' descriptions are what `gateway serve --help` prints and what `env.template` says.
"""

from gateway.settings.current import Current
from gateway.settings.fields import Settings
from gateway.settings.reading import PARTS, SettingsError, aliases, load, merged, names, validated
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
