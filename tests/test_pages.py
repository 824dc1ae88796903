"""The documentation agrees with itself and with the tests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.zoo.probes import ENTRIES

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
MAX_README_LINES = 110


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as sites that show Markdown make them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Each link to a file of the project names one that exists, and a heading that it has."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def test_the_readme_is_short() -> None:
    """The first page is read in a few minutes; what is longer belongs into `docs`."""
    assert len((ROOT / "README.md").read_text().splitlines()) <= MAX_README_LINES


def test_every_page_is_in_the_index() -> None:
    """`docs/README.md` links each page of `docs`."""
    linked = set(re.findall(r"\]\(([\w./-]+\.md)[)#]", (DOCS / "README.md").read_text()))
    pages = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")} - {"README.md"}
    assert pages - linked == set()


def test_the_list_of_tested_models_is_the_zoo() -> None:
    """`docs/models.md` names every model of the zoo once, and how many there are."""
    page = (DOCS / "models.md").read_text()
    section = page.split("## Which flavors are tested")[1].split("\nOther tests")[0]
    named = re.findall(r"`([a-z]+(?:-[a-z]+)*)`", section.partition("|---|")[2])
    assert sorted(named) == sorted(entry.model for entry in ENTRIES)
    assert f"registers these {len(ENTRIES)} kinds" in section
