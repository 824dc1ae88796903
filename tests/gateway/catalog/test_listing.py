"""Proves on a real MLflow server that the list of models is complete, filtered and in pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.errors import BadRequest

if TYPE_CHECKING:
    from gateway.catalog import Catalog
    from gateway.domain.models import Model

REGISTERED = {
    "wine",
    "copied",
    "by-run",
    "empty",
    "it's 100% a_b",
    "both ' and \"",
    "back\\slash",
    "Äpfel & Birnen",
}
EXPERIMENTS = {"forest", "forest/nested: odd", "wine-training", "Default", "many"}


async def everything(catalog: Catalog, *, max_results: int, name_contains: str = "") -> list[Model]:
    """Return the models of all pages; check that none is larger than requested."""
    models: list[Model] = []
    token: str | None = None
    for _ in range(100):
        page = await catalog.list_models(
            max_results=max_results, page_token=token, name_contains=name_contains
        )
        assert len(page.models) <= max_results
        models += page.models
        token = page.next_page_token
        if token is None:
            return models
    raise AssertionError("the list does not end")


@pytest.mark.parametrize("size", [1, 3, 100, 1000])
async def test_the_list_is_complete_at_every_page_size(catalog: Catalog, size: int) -> None:
    """Registered models come first, then experiments with runs and without a registered namesake.

    Each appears once, and prompts do not.
    """
    models = await everything(catalog, max_results=size)
    names = [model.name for model in models]
    assert len(names) == len(set(names))
    by_source = {
        kind: {model.name for model in models if model.source == kind} for kind in ("registry", "experiment")
    }
    assert by_source["registry"] >= REGISTERED
    assert by_source["experiment"] == EXPERIMENTS
    assert "a-prompt" not in names
    sources = [model.source for model in models]
    assert sources == sorted(sources, reverse=True)


async def test_each_entry_has_its_latest_version(catalog: Catalog) -> None:
    """It is None for a model without a READY version."""
    latest = {model.name: model.latest for model in await everything(catalog, max_results=1000)}
    assert (latest["wine"], latest["forest"], latest["empty"], latest["Default"]) == ("3", "5", None, None)


async def test_an_entry_has_its_aliases_and_tags(catalog: Catalog) -> None:
    """The same as in the model's details."""
    wine = next(model for model in await everything(catalog, max_results=100) if model.name == "wine")
    assert (wine.aliases, wine.tags) == ({"champion": "2", "5": "1"}, {"team": "cellar"})
    assert wine.created is not None


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("wine", {"wine", "wine-training"}),
        ("win_", set()),
        ("%", {"it's 100% a_b"}),
        ("a_b", {"it's 100% a_b"}),
        ("'", {"it's 100% a_b", "both ' and \""}),
        ('"', {"both ' and \""}),
        ("\\", {"back\\slash"}),
        ("Äpfel", {"Äpfel & Birnen"}),
        ("/nested", {"forest/nested: odd"}),
        ("prompt", set()),
    ],
)
async def test_the_filter_is_a_plain_substring(catalog: Catalog, text: str, names: set[str]) -> None:
    """Wildcards and quotes of MLflow's filter language are ordinary characters."""
    found = await everything(catalog, max_results=2, name_contains=text)
    assert {model.name for model in found} == names


@pytest.mark.parametrize("token", ["zzz", "ö", "cmVnaXN0cnkKenp6", "ZXhwZXJpbWVudAp6eno="])
async def test_a_foreign_token_is_a_bad_request(catalog: Catalog, token: str) -> None:
    """It is not an upstream error, even if MLflow rejects its own part of the token."""
    with pytest.raises(BadRequest, match="page_token"):
        await catalog.list_models(max_results=10, page_token=token, name_contains="")
