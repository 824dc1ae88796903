"""The variables that Kubernetes puts into every pod for each Service of its namespace ("service links").

A Service named `gateway` gives `GATEWAY_SERVICE_HOST`, `GATEWAY_PORT=tcp://10.0.0.1:80` and others, which
look like settings. Kubernetes never replaces a variable that the pod itself sets. Their forms:
https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_HIGHEST_PORT: Final = 65535
_URL: Final = re.compile(r"(?P<protocol>tcp|udp|sctp)://(?P<host>.+):(?P<port>[1-9]\d{0,4})", re.ASCII)
_URL_NAME: Final = re.compile(r".+_PORT(?:_(?P<port>[1-9]\d{0,4})_(?P<protocol>TCP|UDP|SCTP))?", re.ASCII)
_PART_NAME: Final = re.compile(
    r".+_PORT_(?P<port>[1-9]\d{0,4})_(?P<protocol>TCP|UDP|SCTP)_(?P<part>ADDR|PORT|PROTO)", re.ASCII
)
_HOST_SUFFIX: Final = "_SERVICE_HOST"
_PORT_SUFFIX: Final = "_SERVICE_PORT"


def find_service_links(values: Mapping[str, str]) -> frozenset[str]:
    """Return the names in `values` that are service links by the forms of both their name and their value."""
    return frozenset(name for name, value in values.items() if _is_link(name, value, values))


def _is_link(name: str, value: str, values: Mapping[str, str]) -> bool:
    if (match := _URL_NAME.fullmatch(name)) and _is_url(
        value, port=match["port"], protocol=match["protocol"]
    ):
        return True
    if (match := _PART_NAME.fullmatch(name)) and _fits_part(match, value):
        return True
    if name.endswith(_HOST_SUFFIX):
        return _names_service(name.removesuffix(_HOST_SUFFIX), values)
    return _is_port(value) and any(_names_service(service, values) for service in _services(name))


def _is_url(value: str, *, port: str | None, protocol: str | None) -> bool:
    """Return whether it is the URL of a Service's port: of the one in the name, if there is one."""
    url = _URL.fullmatch(value)
    if url is None or not _is_address(url["host"].removeprefix("[").removesuffix("]")):
        return False
    return port is None or (url["port"], url["protocol"].upper()) == (port, protocol)


def _fits_part(name: re.Match[str], value: str) -> bool:
    """Return whether it is the address, or the port or the protocol that the name has too."""
    if name["part"] == "ADDR":
        return _is_address(value)
    return value == (name["port"] if name["part"] == "PORT" else name["protocol"].lower())


def _services(name: str) -> list[str]:
    """Return the Services whose port `name` may be: the name of X's port Y is `X_SERVICE_PORT_Y`."""
    found = re.finditer(rf"{_PORT_SUFFIX}(?=_.|$)", name)
    return [name[: match.start()] for match in found]


def _names_service(service: str, values: Mapping[str, str]) -> bool:
    """Return whether a Service has both its variables: one of them alone is rather a misspelt setting.

    `X_SERVICE_PORT` may have the URL of another Service, named `x-service`.
    """
    return _is_address(values.get(service + _HOST_SUFFIX, "")) and service + _PORT_SUFFIX in values


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_port(text: str) -> bool:
    return re.fullmatch(r"[1-9]\d{0,4}", text, re.ASCII) is not None and int(text) <= _HIGHEST_PORT
