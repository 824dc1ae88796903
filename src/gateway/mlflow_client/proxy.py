"""Which HTTP proxy leads to an MLflow server, by the rules that curl and MLflow's client follow."""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from typing import TYPE_CHECKING

from yarl import URL

if TYPE_CHECKING:
    from gateway.settings import MlflowSettings


def choose_proxy(settings: MlflowSettings, url: URL) -> URL | None:
    """Return the proxy for `url`, with the user name and password that it may need, or None.

    This machine itself is never asked by a proxy. Raise ValueError if the setting is not an http address.
    """
    name, secret = ("HTTP_PROXY", settings.http_proxy)
    if url.scheme == "https":
        name, secret = ("HTTPS_PROXY", settings.https_proxy)
    address = secret.get_secret_value().strip()
    if not address or _is_excluded(url, settings.no_proxy):
        return None
    try:
        proxy = URL(address if "://" in address else f"http://{address}")
    except ValueError as error:
        raise ValueError(f"{name} is not an address.") from error
    if proxy.scheme != "http" or not proxy.host:
        raise ValueError(f"{name} must be an http address, such as http://proxy.example:3128.")
    return proxy


def _is_excluded(url: URL, no_proxy: str) -> bool:
    """Return whether the host of `url` is this machine, or in the list of names, addresses and networks."""
    host = url.host or ""
    excluded = [part.strip().lower() for part in no_proxy.split(",")]
    if host == "localhost" or "*" in excluded:
        return True
    with suppress(ValueError):
        address = ipaddress.ip_address(host)
        return address.is_loopback or any(_contains(part, address) for part in excluded)
    return any(_is_in_domain(host, part) for part in excluded if part)


def _contains(part: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    try:
        return address in ipaddress.ip_network(part.strip("[]"), strict=False)
    except ValueError:  # a name
        return False


def _is_in_domain(host: str, part: str) -> bool:
    domain = part.partition(":")[0].removeprefix("*").lstrip(".")
    return host == domain or host.endswith(f".{domain}")
