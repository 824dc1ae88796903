"""Chooses the latest and the best run of an experiment, also among runs whose model MLflow does not know.

Only the artifacts of such a run tell whether it has a model. So they are listed only for runs that would be
chosen if they had one, for at most 20 runs and five seconds per choice.
"""

from __future__ import annotations

import asyncio
import logging
from itertools import takewhile
from typing import TYPE_CHECKING, Final

from gateway.catalog.best import choose_from_extremes
from gateway.domain.models import BestChoice
from gateway.errors import BestMetricUndecided, UpstreamTimeout, UpstreamUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.catalog.best import Preference
    from gateway.catalog.run_folders import RunFolders
    from gateway.catalog.run_index import RunEntry, RunIndex
    from gateway.domain.refs import Best

_MAX_SECONDS: Final = 5.0

logger = logging.getLogger(__name__)


async def choose_latest(index: RunIndex, folders: RunFolders) -> int | None:
    """Return the number of the newest READY run, or None."""
    known = index.latest_ready()
    newer = await _first_with_model(index.newer_undecided(known or 0), folders)
    return known if newer is None else index.get_number(newer)


async def choose_best(
    index: RunIndex, folders: RunFolders, selector: Best, *, preferences: Iterable[Preference]
) -> BestChoice | None:
    """Return the best READY run; None if no run is READY.

    The metric and the order are those that the runs with a known model have, if any. Raise
    BestMetricUndecided if none of the READY runs has the metric, or if no metric or order is known.
    """
    preferences = tuple(preferences)
    try:
        known = choose_from_extremes(
            index.extremes.map_keys(index.get_number), selector, preferences=preferences
        )
    except BestMetricUndecided as error:
        found = await _choose_unknown(index, folders, selector, preferences=preferences)
        if found is None and await choose_latest(index, folders) is not None:
            raise error from None
        return found
    return await _find_better(index, folders, known, least=known) or known


async def _choose_unknown(
    index: RunIndex, folders: RunFolders, selector: Best, *, preferences: tuple[Preference, ...]
) -> BestChoice | None:
    extremes = index.candidates.extremes().map_keys(index.get_number)
    try:
        wanted = choose_from_extremes(extremes, selector, preferences=preferences)
    except BestMetricUndecided:
        return None
    return await _find_better(index, folders, wanted, least=None)


async def _find_better(
    index: RunIndex, folders: RunFolders, wanted: BestChoice, *, least: BestChoice | None
) -> BestChoice | None:
    """Return the best undecided run that has a model, None if none is better than `least`."""
    points = index.candidates.best_first(wanted.metric, wanted.order)
    better = {
        entry: value
        for value, entry in takewhile(
            lambda point: least is None or _beats(point[0], index.get_number(point[1]), least), points
        )
    }
    entry = await _first_with_model(better, folders)
    if entry is None:
        return None
    return BestChoice(str(index.get_number(entry)), wanted.metric, better[entry], wanted.order)


def _beats(value: float, number: int, choice: BestChoice) -> bool:
    if value == choice.value:
        return number > int(choice.version)
    return value < choice.value if choice.order == "min" else value > choice.value


async def _first_with_model(entries: Iterable[RunEntry], folders: RunFolders) -> RunEntry | None:
    try:
        async with asyncio.timeout(_MAX_SECONDS):
            for entry in entries:
                if await folders.find(entry.run_id):
                    return entry
    except (TimeoutError, UpstreamTimeout, UpstreamUnavailable) as error:
        logger.info(
            "Cannot tell whether runs have a model among their artifacts: %s",
            str(error) or "out of time",
            extra={"event": "run_artifacts_not_listed"},
        )
    return None
