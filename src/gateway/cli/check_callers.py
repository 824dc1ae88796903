"""What `gateway check` says of callers: how they show who they are, and whether that can work."""

from __future__ import annotations

import os
from collections import Counter
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Final

from gateway.auth.access_file.problems import AccessFileError, quote
from gateway.auth.access_file.reader import read_access_file
from gateway.auth.jwt.jwks import JwksClient, KeySetUnavailable
from gateway.auth.mlflow.identity import OPEN, OPEN_FIX, Identifier, ServerNotAsking
from gateway.cli.access_file import HOW_TO_MAKE, is_missing
from gateway.cli.check_result import CheckResult
from gateway.errors import GatewayError
from gateway.mlflow_client import CallerClient
from gateway.mlflow_client.proxy import choose_proxy
from gateway.settings.auth import NO_AUDIT_LOG, STDERR
from gateway.settings.types import is_loopback

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.auth.access_file.model import AccessFile
    from gateway.settings import Settings

_SECRETS: Final = {"keys": "keys", "jwt": "tokens", "mlflow": "passwords"}
_PLAIN_FIX: Final = "set GATEWAY_TLS_CERT_FILE, unless a proxy in front speaks HTTPS with clients"


def check_callers(settings: Settings) -> Iterator[CheckResult]:
    """Yield how callers show who they are, and the results for the files that this needs."""
    yield _check_kinds(settings)
    yield from _check_access_file(settings)
    yield from _check_audit_log(settings.auth.audit_log)


async def check_sources(settings: Settings) -> list[CheckResult]:
    """Ask the servers that know callers, if the settings name any."""
    results = []
    if "jwt" in settings.auth.sources:
        results.append(await _check_issuer(settings))
    if "mlflow" in settings.auth.sources:
        results.append(await _check_users(settings))
    return results


def _check_kinds(settings: Settings) -> CheckResult:
    """Say which credentials count; warn if others in the network could read them."""
    kinds = [kind for kind in settings.auth.sources if kind != "none"]
    if not kinds:
        return CheckResult("callers", ok=True, text="not asked (GATEWAY_AUTH=none)")
    text, fix = f"asked for {', '.join(kinds)} (GATEWAY_AUTH)", ""
    secrets = [_SECRETS[kind] for kind in kinds if kind in _SECRETS]
    if secrets and settings.tls.cert_file is None and not all(map(is_loopback, settings.hosts)):
        text += f"; {', '.join(secrets)} come by plain HTTP, which others in the network can read"
        fix = _PLAIN_FIX
    return CheckResult("callers", ok=True, text=text, fix=fix)


def _check_access_file(settings: Settings) -> Iterator[CheckResult]:
    """Yield what the access file has, what of it has expired, and which of its principals never come."""
    subject, path = "access file", settings.auth.keys_file
    if path is None:
        return
    try:
        file = read_access_file(path)
    except AccessFileError as error:
        fix = HOW_TO_MAKE if is_missing(error) else ""
        for problem in error.problems:
            yield CheckResult(subject, ok=False, text=problem, fix=fix)
        return
    principals = len(file.token_holders) + len(file.certificates)
    text = f"{path}: {len(file.keys)} keys, {len(file.roles)} roles, {principals} principals"
    yield CheckResult(subject, ok=True, text=text)
    for warning in (*file.warnings, *_foreign_issuers(file, settings.jwt.issuer)):
        yield CheckResult(subject, ok=True, text=warning)


def _foreign_issuers(file: AccessFile, issuer: str) -> Iterator[str]:
    """Yield a line for each issuer whose tokens are not accepted, so that its principals have no effect."""
    why = f"GATEWAY_JWT_ISSUER is {issuer}" if issuer else "GATEWAY_AUTH does not have jwt"
    counts = Counter(holder.issuer for holder in file.token_holders if holder.issuer != issuer)
    for foreign, count in counts.items():
        equal = issuer and foreign.rstrip("/") == issuer.rstrip("/")
        hint = ": they must agree in the slash at the end" if equal else ""
        yield f"{count} principals of jwt:{quote(foreign)} have no effect, because {why}{hint}"


def _check_audit_log(target: str) -> Iterator[CheckResult]:
    """Check that the file can be written; leave none where there was none."""
    subject = "audit log"
    if target == NO_AUDIT_LOG:
        return
    if target == STDERR:
        yield CheckResult(subject, ok=True, text="goes to standard error")
        return
    try:
        _open_for_appending(Path(target))
    except OSError as error:
        fix = "set GATEWAY_AUDIT_LOG to a file in a folder that exists and that this user may write to"
        yield CheckResult(subject, ok=False, text=f"{target}: {error.strerror}", fix=fix)
    else:
        yield CheckResult(subject, ok=True, text=f"{target} can be written")


def _open_for_appending(path: Path) -> None:
    """Open and close a file; remove it if that has created it. Raise OSError."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe must not block
    try:
        os.close(os.open(path, flags))
    except FileNotFoundError:
        created = path.resolve()  # where a link leads to
        os.close(os.open(created, flags | os.O_CREAT | os.O_EXCL, 0o600))
        created.unlink()


async def _check_issuer(settings: Settings) -> CheckResult:
    """Fetch the provider's keys once."""
    subject, issuer = "token keys", settings.jwt.issuer
    name = "GATEWAY_JWT_JWKS_URL" if settings.jwt.jwks_url else "GATEWAY_JWT_ISSUER"
    try:
        async with JwksClient(settings.jwt, choose_proxy=partial(choose_proxy, settings.mlflow)) as client:
            found = await client.fetch()
    except KeySetUnavailable as error:
        fix = f"check {name}, and that this machine reaches it and trusts its certificate"
        return CheckResult(subject, ok=False, text=f"not fetched: {error}", fix=fix)
    skipped = f"; not used: {'; '.join(found.skipped)}" if found.skipped else ""
    fix = "" if found.keys else f"check {name} and GATEWAY_JWT_ALGORITHMS: without a key no token is valid"
    text = f"{issuer} has {len(found.keys)} usable keys{skipped}"
    return CheckResult(subject, ok=bool(found.keys), text=text, fix=fix)


async def _check_users(settings: Settings) -> CheckResult:
    """Check that the MLflow server asks for credentials: one that does not takes every name for right."""
    subject = "MLflow users"
    try:
        async with CallerClient(settings.mlflow) as client:
            await Identifier(client, clock=monotonic).require_asking()
    except ServerNotAsking:
        return CheckResult(subject, ok=False, text=OPEN, fix=OPEN_FIX)
    except GatewayError as error:
        return CheckResult(subject, ok=False, text=f"MLflow cannot be asked about callers: {error}")
    return CheckResult(subject, ok=True, text="MLflow asks callers for credentials")
