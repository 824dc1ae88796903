"""Finds models among runs' artifacts that MLflow does not know, because `log_artifacts` saved them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from cachetools import LRUCache, TTLCache

from gateway.concurrency.singleflight import SingleFlight
from gateway.errors import BadUpstreamResponse, NotFound, UpstreamTimeout, UpstreamUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.mlflow_client import ArtifactEntry, MlflowClient

logger = logging.getLogger(__name__)

_MODEL_FILE: Final = "MLmodel"
_USUAL_NAME: Final = "model"
_MAX_DEPTH: Final = 3
_MAX_LISTINGS: Final = 20
_FOUND_SECONDS: Final = 3600.0
_ABSENT_SECONDS: Final = 30.0
_MAX_REMEMBERED: Final = 10_000


class RunFolders:
    """A finder of the folder with a model's files among a run's artifacts.

    A folder is a model if it has an MLmodel file. The one nearest to the root counts; of several at the same
    depth `model`, then the first by name. It lies at most three folders deep, and at most 20 folders are
    listed. A result is kept for an hour, and beyond that while MLflow does not answer. That a run has none is
    kept for half a minute, because a client may still log one.
    """

    def __init__(
        self,
        client: MlflowClient,
        *,
        found_seconds: float = _FOUND_SECONDS,
        absent_seconds: float = _ABSENT_SECONDS,
    ) -> None:
        self._client = client
        self._fresh: TTLCache[str, bool] = TTLCache(_MAX_REMEMBERED, found_seconds)
        self._found: LRUCache[str, str] = LRUCache(_MAX_REMEMBERED)
        self._absent: TTLCache[str, bool] = TTLCache(_MAX_REMEMBERED, absent_seconds)
        self._single_flight: SingleFlight[str] = SingleFlight()

    def known(self, run_id: str) -> str:
        """Return the URI that was found last, without a call to MLflow; empty if there is none."""
        return self._found.get(run_id, "")

    async def find(self, run_id: str) -> str:
        """Return the URI of the model's folder, empty if the run has none.

        A run whose artifacts MLflow cannot list has none. Raise UpstreamUnavailable or UpstreamTimeout.
        """
        if run_id in self._fresh or run_id in self._absent:
            return self.known(run_id)
        return await self._single_flight.do(run_id, lambda: self._look_up(run_id))

    async def close(self) -> None:
        """Cancel the running searches and wait for their end."""
        await self._single_flight.close()

    async def _look_up(self, run_id: str) -> str:
        try:
            uri = await self._search(run_id)
        except NotFound:
            uri = ""
        except (UpstreamUnavailable, UpstreamTimeout):
            if not self.known(run_id):
                raise
            uri = self.known(run_id)
        except BadUpstreamResponse as error:
            logger.info(
                "Cannot list the artifacts of run %s: %s",
                run_id,
                error,
                extra={"event": "run_artifacts_not_listed", "run_id": run_id},
            )
            uri = self.known(run_id)
        if uri:
            self._found[run_id] = uri
            self._fresh[run_id] = True
        else:
            self._found.pop(run_id, None)
            self._absent[run_id] = True
        return uri

    async def _search(self, run_id: str) -> str:
        level, listings = [""], 0
        for _ in range(_MAX_DEPTH + 1):
            below: list[str] = []
            for path in level:
                if listings == _MAX_LISTINGS:
                    return ""
                listings += 1
                folder = await self._client.list_run_artifacts(run_id, path)
                if _has_model_file(folder.entries):
                    return f"runs:/{run_id}/{path}" if path else folder.root_uri
                below += [entry.path for entry in folder.entries if entry.is_dir]
            level = sorted(below, key=_search_order)
        return ""


def _has_model_file(entries: Iterable[ArtifactEntry]) -> bool:
    return any(not entry.is_dir and entry.path.rpartition("/")[2] == _MODEL_FILE for entry in entries)


def _search_order(path: str) -> tuple[bool, str]:
    return path.rpartition("/")[2] != _USUAL_NAME, path
