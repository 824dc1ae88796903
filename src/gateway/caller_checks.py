"""Builds what asks callers who they are and counts what they ask for, from the settings."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from gateway.api.forwarded import Forwarded
from gateway.api.middleware.access_control import AccessControl, Peer
from gateway.api.middleware.auditing import Auditor
from gateway.api.middleware.known_requests import KnownRequests
from gateway.auth.access_file.store import AccessFileStore
from gateway.auth.audit import AuditLog
from gateway.auth.authenticator import Authenticator
from gateway.auth.keys import KeyAuthenticator
from gateway.auth.mtls import MtlsAuthenticator
from gateway.catalog.served_names import ServedNames
from gateway.concurrency.background import supervised_task
from gateway.concurrency.threads import in_thread
from gateway.domain.limits import Limits
from gateway.mlflow_client.proxy import choose_proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.auth.jwt.authenticator import JwtAuthenticator
    from gateway.auth.limits.limiter import RequestLimiter
    from gateway.auth.mlflow.authenticator import MlflowAuthenticator
    from gateway.mlflow_client import MlflowClient
    from gateway.settings import Settings
    from gateway.system.log_throttle import LogThrottle
    from workers.metrics import Counters


class CallerChecks:
    """The access control of one gateway process, which is None if every request may go on, and its parts."""

    def __init__(
        self,
        settings: Settings,
        limiter: RequestLimiter,
        *,
        mlflow: MlflowClient,
        counters: Counters,
        log_throttle: LogThrottle,
    ) -> None:
        self._settings = settings
        self._counters = counters
        self._sources = set(settings.auth.sources) - {"none"}
        self._forwarded = Forwarded(settings.auth, log_throttle=log_throttle)
        self._audit = AuditLog(settings.auth.audit_log, counters=counters)
        self._jwt: JwtAuthenticator | None = None
        self._users: MlflowAuthenticator | None = None
        self._served = ServedNames(mlflow, settings.sources)
        self.access_file = AccessFileStore(settings.auth.keys_file)
        self.auditor = self._create_auditor() if self._audit.active else None
        asks, counts = bool(self._sources), settings.auth.limits != Limits()
        self.access_control: AccessControl | None = None
        if asks or counts or self._audit.active:
            self.access_control = AccessControl(
                self._create_authenticator() if asks else None,
                limiter if asks or counts else None,
                peer=Peer(self._forwarded.certificate_names, self._forwarded.client_address),
                counters=counters,
                known=KnownRequests(lambda: self.access_file.current) if "keys" in self._sources else None,
            )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Read the access file and open what the access_control asks; close it at the end.

        Raise AccessFileError or AuditLogUnusable.
        """
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._audit.close)
            await self._audit.open()
            await in_thread(self.access_file.load)
            await stack.enter_async_context(
                supervised_task(self.access_file.run, name="access file", counters=self._counters)
            )
            if self._jwt is not None:
                await stack.enter_async_context(self._jwt)
            if self._users is not None:
                stack.push_async_callback(self._served.close)
                await stack.enter_async_context(self._users)
            yield

    def _create_authenticator(self) -> Authenticator:
        store, settings = self.access_file, self._settings
        if "jwt" in self._sources:
            from gateway.auth.jwt.authenticator import (  # noqa: PLC0415 - cryptography takes long to import
                JwtAuthenticator,
            )
            from gateway.auth.jwt.jwks import JwksClient  # noqa: PLC0415 - as above

            self._jwt = JwtAuthenticator(
                settings.jwt,
                rights_for=store.rights_for_token,
                generation=lambda: store.generation,
                counters=self._counters,
                client=JwksClient(settings.jwt, choose_proxy=partial(choose_proxy, settings.mlflow)),
            )
        if "mlflow" in self._sources:
            from gateway.auth.mlflow.authenticator import (  # noqa: PLC0415 - as above
                MlflowAuthenticator,
            )

            self._users = MlflowAuthenticator(
                settings.mlflow, self._served, counters=self._counters, invoke=settings.auth.mlflow_invoke
            )
        return Authenticator(
            keys=KeyAuthenticator(store) if "keys" in self._sources else None,
            jwt=self._jwt,
            mtls=self._create_mtls() if "mtls" in self._sources else None,
            mlflow=self._users,
        )

    def _create_mtls(self) -> MtlsAuthenticator:
        store = self.access_file
        return MtlsAuthenticator(store.rights_for_certificate, generation=lambda: store.generation)

    def _create_auditor(self) -> Auditor:
        return Auditor(
            self._audit, self._forwarded.client_address, invocations=self._settings.auth.audit_invoke
        )
