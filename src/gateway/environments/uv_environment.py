"""Which variables uv gets: those of indexes and of the network, which no worker sees, and nothing else."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PREFIXES: Final = ("UV_INDEX", "UV_HTTP_", "UV_CONCURRENT_", "LC_")
_NAMES: Final = frozenset(
    {
        "UV_DEFAULT_INDEX", "UV_EXTRA_INDEX_URL", "UV_INSECURE_HOST", "UV_NATIVE_TLS", "UV_SYSTEM_CERTS",
        "UV_CACHE_DIR", "UV_REQUEST_TIMEOUT", "SSL_CERT_FILE", "SSL_CERT_DIR", "SSL_CLIENT_CERT",
        "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY",
        "http_proxy", "https_proxy", "all_proxy", "no_proxy", "LANG", "TZ", "NETRC",
    }
)  # fmt: skip
_FILES: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSL_CLIENT_CERT", "NETRC")
_FIXED: Final = {
    "PATH": "/usr/bin:/bin",
    "NO_COLOR": "1",
    "UV_NO_PROGRESS": "1",
    "UV_NO_CONFIG": "1",
    "UV_PYTHON_DOWNLOADS": "never",
    "UV_KEYRING_PROVIDER": "disabled",
}
_SECRET_NAME: Final = re.compile(r"PASSWORD|USERNAME|TOKEN|SECRET", re.IGNORECASE)
_MIN_SECRET_CHARS: Final = 4


def uv_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables for uv, by the names that uv itself documents; none of others."""
    chosen = {
        name: value for name, value in environment.items() if name in _NAMES or name.startswith(_PREFIXES)
    }
    return chosen | _FIXED


def pip_environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables by which pip finds the same indexes as uv and trusts the same certificates, and no
    configuration of its own.
    """
    first = variables.get("UV_DEFAULT_INDEX") or variables.get("UV_INDEX_URL")
    others = [
        word if "://" in word.partition("=")[0] else word.partition("=")[2]
        for name in ("UV_INDEX", "UV_EXTRA_INDEX_URL")
        for word in variables.get(name, "").split()
    ]
    found = {
        "PIP_INDEX_URL": first or "",
        "PIP_EXTRA_INDEX_URL": " ".join(filter(None, others)),
        "PIP_CERT": variables.get("SSL_CERT_FILE", ""),  # pip of before 24.2 does not read that one
    }
    return {name: value for name, value in found.items() if value} | {"PIP_CONFIG_FILE": "/dev/null"}


def named_files(variables: Mapping[str, str]) -> list[str]:
    """Return the files and folders that these variables name."""
    return [variables[name] for name in _FILES if variables.get(name, "").startswith("/")]


def secrets_in(variables: Mapping[str, str]) -> tuple[str, ...]:
    """Return every text of these variables that no log and no client may see, the longest first."""
    found = {secret for name, value in variables.items() for secret in _secrets(name, value)}
    return tuple(sorted((each for each in found if len(each) >= _MIN_SECRET_CHARS), key=len, reverse=True))


def _secrets(name: str, value: str) -> Iterator[str]:
    if _SECRET_NAME.search(name):
        yield value
    for word in value.split():
        _, named, address = word.rpartition("=") if "=" in word.partition("://")[0] else ("", "", word)
        try:
            parts = urlsplit(address if named or "://" in address else "")
        except ValueError:
            yield word
            continue
        for secret in (parts.password, parts.username):
            if secret:
                yield from (secret, unquote(secret))
