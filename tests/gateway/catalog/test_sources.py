"""Proves on a real MLflow server that only the chosen kinds of names are found and listed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.catalog.listing import PageToken
from gateway.domain.refs import Alias, Latest, ModelRef, Number
from gateway.errors import BadRequest, NotFound
from tests.gateway.catalog.conftest import opened

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.catalog import Catalog
    from tests.gateway.catalog.conftest import Seeded

PROMPT = "a-prompt"


@pytest.fixture
async def registry(seeded: Seeded) -> AsyncIterator[Catalog]:
    """A catalog of registered models alone."""
    async with opened(seeded.server.url, GATEWAY_SOURCES="registry") as catalog:
        yield catalog


@pytest.fixture
async def experiments(seeded: Seeded) -> AsyncIterator[Catalog]:
    """A catalog of experiments alone."""
    async with opened(seeded.server.url, GATEWAY_SOURCES="experiments") as catalog:
        yield catalog


async def names(catalog: Catalog, *, page: int = 3, contains: str = "") -> dict[str, str]:
    """Return the source of each listed model by its name; read the list page by page."""
    found: dict[str, str] = {}
    token: str | None = None
    while True:
        models = await catalog.list_models(max_results=page, page_token=token, name_contains=contains)
        found |= {model.name: model.source for model in models.models}
        token = models.next_page_token
        if token is None:
            return found


async def test_an_experiment_is_unknown_without_experiments(registry: Catalog) -> None:
    """In every way that a client can ask for it, with the message for a name that does not exist."""
    for name in ("forest", "forest/nested: odd"):
        for ref in (ModelRef(name, Latest()), ModelRef(name, Number(1))):
            with pytest.raises(NotFound, match=f"^There is no model {name!r}.$"):
                await registry.resolve(ref)
            with pytest.raises(NotFound):
                await registry.get_version(ref)
        with pytest.raises(NotFound):
            await registry.get_model(name)
    assert (await registry.resolve(ModelRef("wine", Number(1)))).version.source == "registry"


async def test_a_registered_model_is_unknown_without_the_registry(experiments: Catalog) -> None:
    """Nor is a prompt told apart from nothing; the experiment with a model's name is served."""
    for name in ("copied", PROMPT):
        with pytest.raises(NotFound, match=f"^There is no model {name!r}.$"):
            await experiments.resolve(ModelRef(name, Latest()))
    with pytest.raises(NotFound, match="no alias"):
        await experiments.resolve(ModelRef("wine", Alias("champion")))
    assert (await experiments.get_model("wine")).model.source == "experiment"
    assert (await experiments.resolve(ModelRef("forest", Number(1)))).version.source == "experiment"


async def test_only_the_chosen_kinds_are_listed(
    registry: Catalog, experiments: Catalog, catalog: Catalog
) -> None:
    """Page by page and by a part of the name; a hidden experiment is listed if no model hides it."""
    both, registered, others = [await names(each) for each in (catalog, registry, experiments)]
    assert set(registered.values()) == {"registry"}
    assert set(others.values()) == {"experiment"}
    assert both == {**others, **registered}
    assert (both["wine"], others["wine"]) == ("registry", "experiment")
    assert await names(registry, contains="forest") == {}
    assert "copied" not in await names(experiments, contains="copied")


async def test_a_page_token_of_the_other_kind_is_rejected(registry: Catalog, experiments: Catalog) -> None:
    """It was issued under other settings."""
    for catalog, stage in ((registry, "experiment"), (experiments, "registry")):
        token = PageToken(stage).encode()  # type: ignore[arg-type]  # both are stages
        with pytest.raises(BadRequest, match="page_token"):
            await catalog.list_models(max_results=3, page_token=token, name_contains="")


async def test_the_operator_can_be_told_why(
    registry: Catalog, experiments: Catalog, catalog: Catalog
) -> None:
    """A name that exists and is left out; nothing of a name that does not exist or is served."""
    assert "experiment, which GATEWAY_SOURCES leaves out" in await registry.explain_not_served("forest")
    assert "model, which GATEWAY_SOURCES leaves out" in await experiments.explain_not_served("copied")
    for each in (registry, experiments, catalog):
        assert await each.explain_not_served("nothing") == ""
    assert await catalog.explain_not_served("forest") == ""
