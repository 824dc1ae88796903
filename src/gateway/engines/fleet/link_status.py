"""Whether a node is linked, since when and why not, and the log lines of each change."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection

    from gateway.engines.members import Member
    from gateway.engines.node_report import NodeState
    from workers.protocol.messages import ModelKey

logger = logging.getLogger(__name__)

_MAX_UNLOADED_LINES: Final = 20


class LinkStatus:
    """The state of the link to one node. Each outage and each refusal is logged once."""

    def __init__(self, member: Member) -> None:
        self.value: NodeState = "connecting"
        self.since = datetime.now(UTC)
        self.reason = ""
        self._member = member
        self._unreachable_logged = False

    def set_connected(self, *, product: str, models: int) -> None:
        """Take note that the node can be given requests."""
        self._unreachable_logged = False
        self._set("connected", "")
        logger.info(
            "Connected to node %s, version %s, with %d models",
            self._member.name,
            product,
            models,
            extra=self._fields("node_connected", version=product, models=models),
        )

    def set_lost(self, reason: str, *, jobs: int, expected: bool) -> None:
        """Take note that a link ended with jobs in flight. `expected`: the node had said that it would."""
        self._set("lost", reason)
        logger.log(
            logging.INFO if expected else logging.WARNING,
            "Lost node %s with %d jobs: %s",
            self._member.name,
            jobs,
            reason,
            extra=self._fields("node_lost", reason=reason, jobs=jobs),
        )

    def set_unused(self, reason: str) -> None:
        """Take note that this gateway has ended the link."""
        self._set("lost", reason)

    def set_refused(self, reason: str) -> None:
        """Take note that node and gateway do not accept each other, which only an operator can change."""
        if (self.value, self.reason) != ("refused", reason):
            logger.error(
                "Node %s and this gateway do not accept each other: %s",
                self._member.name,
                reason,
                extra=self._fields("node_refused", reason=reason),
            )
        self._set("refused", reason)

    def set_unreachable(self, reason: str) -> None:
        """Take note that no link could be opened."""
        if not self._unreachable_logged:
            logger.warning(
                "Cannot connect to node %s: %s",
                self._member.name,
                reason,
                extra=self._fields("node_unreachable", reason=reason),
            )
        self._unreachable_logged = True
        self._set("lost" if self.value == "lost" else "connecting", reason)

    def log_unloaded(self, keys: Collection[ModelKey]) -> None:
        """Log that models are not loaded on the node any more: each, or how many if they are very many."""
        for key in islice(keys, _MAX_UNLOADED_LINES):
            extra = self._fields("node_unloaded", model=str(key))
            logger.info("Node %s has no worker of %s any more", self._member.name, key, extra=extra)
        if (others := len(keys) - _MAX_UNLOADED_LINES) > 0:
            extra = self._fields("node_unloaded", count=others)
            logger.info("Node %s has no worker of %d other models", self._member.name, others, extra=extra)

    def _set(self, value: NodeState, reason: str) -> None:
        if value != self.value:
            self.since = datetime.now(UTC)
        self.value, self.reason = value, reason

    def _fields(self, event: str, **fields: object) -> dict[str, object]:
        return {"event": event, "node": self._member.name, "address": self._member.address, **fields}
