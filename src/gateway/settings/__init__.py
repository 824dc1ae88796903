"""The gateway's settings, read from the environment and `.env`; nothing else reads the environment.

`gateway serve --help` and `env.template` show the descriptions of the fields.
"""

from gateway.settings.auth import AuthSettings
from gateway.settings.browser import BrowserSettings
from gateway.settings.environments import EnvironmentSettings
from gateway.settings.fleet import FleetSettings, NodeSettings
from gateway.settings.jwt import JwtSettings
from gateway.settings.loader import (
    GROUPS,
    PARTS,
    CurrentSettings,
    SettingsError,
    aliases,
    env_names,
    load,
    read_environment,
    validate_settings,
)
from gateway.settings.model_access import ModelAccessSettings
from gateway.settings.ray import RaySettings
from gateway.settings.schema import Settings
from gateway.settings.service_links import find_service_links
from gateway.settings.tls import TlsSettings
from gateway.settings.upstream import MlflowSettings, S3Settings
from gateway.settings.wall import wall_policy

__all__ = [
    "GROUPS",
    "PARTS",
    "AuthSettings",
    "BrowserSettings",
    "CurrentSettings",
    "EnvironmentSettings",
    "FleetSettings",
    "JwtSettings",
    "MlflowSettings",
    "ModelAccessSettings",
    "NodeSettings",
    "RaySettings",
    "S3Settings",
    "Settings",
    "SettingsError",
    "TlsSettings",
    "aliases",
    "env_names",
    "find_service_links",
    "load",
    "read_environment",
    "validate_settings",
    "wall_policy",
]
