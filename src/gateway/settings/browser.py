"""The settings of what web pages may do."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from gateway.settings.types import CommaSeparated, SettingsGroup

_HOST: Final = re.compile(r"\*|(\*\.)?[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?(:(?P<port>[0-9]{1,5}))?")
_ORIGIN: Final = re.compile(
    r"(?P<scheme>https?)://([a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(:(?P<port>[0-9]{1,5}))?"
)
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}
_MAX_PORT: Final = 65535


def _check_hosts(words: tuple[str, ...]) -> tuple[str, ...]:
    for word in words:
        _match(_HOST, word, "a name such as models.example.org or *.example.org, or *")
    return tuple(dict.fromkeys(word.lower() for word in words))


def _check_origins(words: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_normalize_origin(word) for word in words))


def _normalize_origin(word: str) -> str:
    """Return an origin as browsers send it, without the port that its scheme has anyway."""
    match = _match(_ORIGIN, word, "an origin such as https://app.example.org: in lower case, without a path")
    return word.removesuffix(_DEFAULT_PORTS[match["scheme"]])


def _match(pattern: re.Pattern[str], word: str, form: str) -> re.Match[str]:
    match = pattern.fullmatch(word)
    if match is None or int(match["port"] or 0) > _MAX_PORT:
        raise ValueError(f"{word!r} is not {form}")
    return match


AllowedHosts = Annotated[CommaSeparated, AfterValidator(_check_hosts)]
AllowedOrigins = Annotated[CommaSeparated, AfterValidator(_check_origins)]


class BrowserSettings(SettingsGroup):
    """The names that the gateway is reached by, and the web pages that may call it."""

    allowed_hosts: AllowedHosts = Field(
        (),
        alias="GATEWAY_ALLOWED_HOSTS",
        description="Names that the gateway is reached by, comma-separated, beside addresses and localhost: "
        "models.example.org, *.example.org, gateway:8080, or * for any. Requests to other names are answered "
        "with 421, so that no web page can make its own name lead here.",
    )
    allowed_origins: AllowedOrigins = Field(
        (),
        alias="GATEWAY_ALLOWED_ORIGINS",
        description="Origins of web pages that may call the gateway from a browser, comma-separated, beside "
        "its own: https://app.example.org.",
    )
