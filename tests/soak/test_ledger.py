"""Proves that faults explain what comes of them, and no more."""

from __future__ import annotations

from tests.soak.ledger import CROWDED, DIED_TWICE, LATE, Ledger, Sample, Window

_DIED = "The worker's process ended."


def sample(status: int, began: float, ended: float, *, name: str = "one", text: str = "") -> Sample:
    return Sample(name, "latest", began, ended, status, text)


def ledger(*, overloaded: bool = False) -> Ledger:
    return Ledger(places=8, overloaded=lambda: overloaded)


def window(*statuses: int, until: float = 20.0, names: frozenset[str] = frozenset({"one"})) -> Window:
    return Window("hang", frozenset(statuses), 10.0, until, names)


def test_what_overlaps_a_fault() -> None:
    """Its status, its model and its time have to be those of the fault."""
    book = ledger()
    book.open(window(504))
    assert book.explain(sample(504, 9, 11), known=True) == "hang"
    assert book.explain(sample(504, 19, 25), known=True) == "hang"
    assert book.explain(sample(503, 9, 11), known=True) is None
    assert book.explain(sample(504, 9, 11, name="two"), known=True) is None
    assert book.explain(sample(504, 8, 9.5), known=True) is None
    assert book.explain(sample(504, 20.5, 25), known=True) is None


def test_a_recovered_model() -> None:
    """A right answer to a request made well after the fault began ends it, for that model alone."""
    book = ledger()
    fault = book.open(window(504, names=frozenset()))
    fault.quiet = 2.0
    book.note_right(sample(200, 11, 12))
    assert book.explain(sample(504, 13, 14), known=True) == "hang"
    book.note_right(sample(200, 12.5, 13))
    assert book.explain(sample(504, 13.5, 14), known=True) is None
    assert book.explain(sample(504, 12.9, 14), known=True) == "hang"
    assert book.explain(sample(504, 13.5, 14, name="two"), known=True) == "hang"


def test_only_what_is_not_known() -> None:
    """An MLflow outage explains no failure that an intact cache would prevent."""
    book = ledger()
    fault = book.open(window(503))
    fault.unknown_only = True
    assert book.explain(sample(503, 11, 12), known=False) == "hang"
    assert book.explain(sample(503, 11, 12), known=True) is None
    harm = book.open(window())
    harm.forgets = True
    assert book.explain(sample(503, 11, 12), known=True) == "hang"


def test_deaths() -> None:
    """One death explains nothing, two within a request do; elsewhere they do not."""
    book = ledger()
    book.died("one", at=11)
    assert book.explain(sample(500, 10, 14, text=_DIED), known=True) is None
    book.died("two", at=12)
    assert book.explain(sample(500, 10, 14, text=_DIED), known=True) is None
    book.died("", at=13)
    assert book.explain(sample(500, 10, 14, text=_DIED), known=True) == DIED_TWICE
    assert book.explain(sample(500, 12.9, 14, text=_DIED), known=True) is None
    assert book.explain(sample(500, 10, 14), known=True) is None


def test_a_late_replacement() -> None:
    """A death explains a lack of time on an overloaded machine alone."""
    for overloaded, kind in ((True, LATE), (False, None)):
        book = ledger(overloaded=overloaded)
        book.died("one", at=11)
        assert book.explain(sample(504, 10, 15), known=True) == kind
        assert book.explain(sample(504, 12, 17), known=True) is None


def test_a_crowd() -> None:
    """No room is explained by very many who ask for something else at that time."""
    book = ledger()
    book.crowd(7, at=11)
    book.crowd(8, at=15)
    text = "All 12 models that may be loaded at once are busy or pinned."
    assert book.explain(sample(503, 10, 14, text=text), known=True) is None
    assert book.explain(sample(503, 10, 16, text=text), known=True) == CROWDED
    assert book.explain(sample(503, 10, 16, text="else"), known=True) is None
