"""Why uv failed, as errors for clients: its own words, without paths, addresses and credentials."""

from __future__ import annotations

import errno
import os
import re
from typing import TYPE_CHECKING, Final

from gateway.errors import EnvironmentRefused, GatewayError, UpstreamUnavailable
from gateway.system.redaction import redact_urls

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.environments.uv_output import UvOutput

_MAX_CHARS: Final = 600
_HIDDEN: Final = "***"
_ADDRESS: Final = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s`'\"<>)]+", re.IGNORECASE)
_PATH: Final = re.compile(r"(?<![\w./:])~?(?:/[^\s`'\":;,()<>]+)+/?")
_DISK_FULL: Final = re.compile(r"No space left on device|os error 28\b|Disk quota exceeded|os error 122\b")
_CREDENTIALS: Final = re.compile(r"401 Unauthorized|403 Forbidden|valid authentication credentials")
# In this order, because uv names the cause and then its consequences.
_KNOWN: Final[Sequence[tuple[re.Pattern[str], type[GatewayError], str]]] = (
    (_CREDENTIALS, UpstreamUnavailable, ": the package index refuses the gateway's credentials."),
    (
        re.compile(r"invalid peer certificate|CERTIFICATE_VERIFY_FAILED"),
        UpstreamUnavailable,
        (
            ": the certificate of the package index is not trusted. SSL_CERT_FILE or UV_SYSTEM_CERTS=true can"
            " name its authority."
        ),
    ),
    (
        re.compile(r"has no (?:usable )?wheels|building from source is disabled|no-build"),
        EnvironmentRefused,
        (
            ": {} GATEWAY_ENVIRONMENT_BUILD_SDISTS=true builds such packages here; or put a wheel of it into"
            " the index or the folder GATEWAY_WHEELS."
        ),
    ),
    (
        re.compile(r"Network connectivity is disabled|was not found in the cache"),
        EnvironmentRefused,
        " from what GATEWAY_WHEELS has: {}",
    ),
    (
        re.compile(r"hash mismatch", re.IGNORECASE),
        EnvironmentRefused,
        ": the index has another file than the lock says. {}",
    ),
    (
        re.compile(
            r"Failed to fetch|error sending request|HTTP status (?:server|client) error|Request failed after"
            r"|dns error|tcp connect error|operation timed out|Failed to download|connection closed",
            re.IGNORECASE,
        ),
        UpstreamUnavailable,
        ": the package index does not answer, or not as it should.",
    ),
)
_NO_TIMES: Final = re.compile(r"is missing an upload date")
_NOISE: Final = re.compile(
    r"^\s*(?:warning:|Using (?:CPython|Python)|Creating virtual|Resolved \d|Prepared \d)"
)


def lacks_upload_times(output: UvOutput) -> bool:
    """Return whether uv left packages out because their index does not tell when they were uploaded."""
    return bool(_NO_TIMES.search(output.stderr))


def is_unsolvable(output: UvOutput) -> bool:
    """Return whether no versions of the packages fit together, as far as the index has them."""
    return output.status == 1 and not _CREDENTIALS.search(output.stderr)


def to_error(output: UvOutput, *, doing: str, secrets: Iterable[str]) -> Exception:
    """Return the error for uv's failure while requirements were `doing`, such as "resolved".

    An OSError for a full disk, UpstreamUnavailable for an index that does not answer or that refuses the
    gateway, else EnvironmentRefused.
    """
    if _DISK_FULL.search(output.stderr):
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return _to_error(output.stderr, doing=doing, shown=readable(output.stderr, secrets))


def _to_error(text: str, *, doing: str, shown: str) -> GatewayError:
    start = f"This version's requirements cannot be {doing}"
    for pattern, kind, rest in _KNOWN:
        if pattern.search(text):
            return kind(f"{start}{rest.format(shown)}")
    return EnvironmentRefused(f"{start}: {shown}")


def timed_out(seconds: float) -> UpstreamUnavailable:
    """Return the error for a step of a build that took too long."""
    return UpstreamUnavailable(
        f"This version's environment could not be built within {seconds:g} s: the package index is slow, or "
        "GATEWAY_ENVIRONMENT_TIMEOUT_SECONDS is too small."
    )


def readable(text: str, secrets: Iterable[str]) -> str:
    """Return the last lines of uv's text for a client: one line, short, without paths and addresses."""
    text = hide(text, secrets)
    lines = [line.strip() for line in text.splitlines() if line.strip() and not _NOISE.match(line)]
    kept = " ".join(_PATH.sub("…", _ADDRESS.sub("the index", line)) for line in lines)
    kept = re.sub(r"^error: |(?<=\s)cause: ", "", kept)
    return kept if len(kept) <= _MAX_CHARS else f"{kept[: _MAX_CHARS // 2]} … {kept[-_MAX_CHARS // 2 :]}"


def hide(text: str, secrets: Iterable[str]) -> str:
    """Return uv's text for the log: with `***` in place of secrets, and of users and queries of addresses."""
    for secret in secrets:
        text = text.replace(secret, _HIDDEN)
    return redact_urls(text)
