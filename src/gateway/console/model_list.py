"""The list of models: which page of it a person asked for, and its rows."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from gateway.auth.actions import Action
from gateway.catalog.listing import PageToken
from gateway.console import processes, traffic
from gateway.console.rows import Row, build_row
from gateway.console.summaries import PAGE_SIZE, Query
from gateway.errors import UpstreamUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.auth.rights import Rights
    from gateway.console.console import Console
    from gateway.domain.models import Model
    from gateway.telemetry.process_snapshot import VersionState

_FIRST_WAIT_SECONDS: Final = 0.3
_MAX_FILTER: Final = 256
_MAX_TOKEN: Final = 2_000


class Filter(NamedTuple):
    """What a person chose to see of the list."""

    contains: str = ""
    token: str = ""
    only: Literal["", "warm", "failing"] = ""
    source: Literal["", "registry", "experiment"] = ""

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Filter:
        """Return the choice that the query of an address names; what is unknown counts as not chosen."""
        only, source = query.get("only", ""), query.get("source", "")
        return cls(
            query.get("q", "")[:_MAX_FILTER],
            query.get("page", "")[:_MAX_TOKEN],
            "warm" if only == "warm" else "failing" if only == "failing" else "",
            "registry" if source == "registry" else "experiment" if source == "experiment" else "",
        )


@dataclass(frozen=True, slots=True)
class ModelList:
    """The rows of one page, and the token of the next one. `partial`: MLflow gave no list."""

    rows: Sequence[Row]
    next_token: str | None = None
    partial: bool = False


async def build_model_list(
    console: Console, choice: Filter, rights: Rights, *, wait: bool = False
) -> ModelList:
    """Return the rows that a caller may see; with `wait`, give MLflow a moment to say what is best.

    Raise BadRequest for a wrong token.
    """
    states = processes.by_model(console.processes.snapshots())
    models, token, partial = await _find_models(console, choice, rights, states=states)
    running = console.summaries.refresh(models)
    if wait and running:
        await asyncio.wait(running, timeout=_FIRST_WAIT_SECONDS)
    figures = traffic.TrafficFigures(console.components.history)
    may_see = rights.allows_route(Action.STATUS)
    rows = [
        build_row(
            model,
            console.summaries.known(model.name),
            states.get(model.name, ()),
            figures.model(model.name) if may_see else traffic.NONE,
        )
        for model in models
    ]
    return ModelList(rows, token, partial)


async def _find_models(
    console: Console, choice: Filter, rights: Rights, *, states: Mapping[str, Sequence[VersionState]]
) -> tuple[list[Model], str | None, bool]:
    if choice.only:
        return await _loaded(console, choice, rights, states=states), None, False
    token = choice.token
    if not token and choice.source == "experiment" and rights.reads == "all" and _has_both(console):
        token = PageToken("experiment").encode()
    try:
        page = await console.summaries.page(Query(choice.contains, token), rights)
    except UpstreamUnavailable:
        return await _loaded(console, choice, rights, states=states), None, True
    models = [model for model in page.models if choice.source in {"", model.source}]
    return models, page.next_page_token, False


async def _loaded(
    console: Console, choice: Filter, rights: Rights, *, states: Mapping[str, Sequence[VersionState]]
) -> list[Model]:
    """Return the models that have a version in the chosen state, without a list from MLflow."""
    wanted = {"warm": {"warm"}, "failing": {"failed"}}.get(choice.only, {"warm", "loading", "failed"})
    names = [
        name
        for name, versions in states.items()
        if choice.contains in name and any(version.state in wanted for version in versions)
    ]
    readable = await rights.readable(names)
    shown = sorted(name for name in names if name in readable)[:PAGE_SIZE]
    models = await console.summaries.by_name(shown)
    return [model for model in models if choice.source in {"", model.source}]


def _has_both(console: Console) -> bool:
    return len(console.components.settings.value.sources) > 1
