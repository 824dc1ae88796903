"""What each reference (a number, an alias, latest, best) means, meant, and may still be taken to mean."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

ABSENT = ""


@dataclass(slots=True)
class Span:
    """A version with an artifact of this label (neither if there is nothing to serve), and when.

    `until`: requests sent later must not get this answer.
    """

    version: str
    label: str
    since: float
    until: float = inf
    answered: bool = False


class Meanings:
    """The history of every reference.

    After a change the old meaning may be answered until the new one was once, but for no longer than
    `patience` seconds.
    """

    def __init__(self, *, patience: float) -> None:
        self._patience = patience
        self._spans: dict[tuple[str, str], list[Span]] = {}

    def change(self, name: str, ref: str, *, version: str, label: str, at: float) -> bool:
        """Note that from `at` on `ref` means another version; whether it did not before."""
        spans = self._spans.setdefault((name, ref), [])
        if spans and (spans[-1].version, spans[-1].label) == (version, label):
            return False
        for span in spans:
            span.until = min(span.until, at + self._patience)
        spans.append(Span(version, label, at))
        return True

    def refs(self, name: str) -> list[str]:
        """What a client can ask of the model now."""
        return [ref for (one, ref), spans in self._spans.items() if one == name and spans[-1].version]

    def current(self, name: str, ref: str) -> Span:
        """What it means now."""
        return self._spans[name, ref][-1]

    def possible(self, name: str, ref: str, *, began: float, ended: float) -> list[Span]:
        """What a request that began and ended then may have been answered by."""
        spans = self._spans.get((name, ref), [])
        return [span for span in spans if span.since <= ended and span.until >= began]

    def answered(self, name: str, ref: str, spans: Iterable[Span], *, ended: float) -> None:
        """Note an answer that any of `spans` may have given; the newest of them may be the only one left."""
        found = list(spans)
        for span in found:
            span.answered = True
        if found == self._spans[name, ref][-1:]:
            for span in self._spans[name, ref][:-1]:
                span.until = min(span.until, ended)

    def settled(self, name: str, ref: str, *, now: float) -> bool:
        """Whether nothing but the present meaning may be answered from now on."""
        return all(span.until <= now for span in self._spans[name, ref][:-1])

    def known(self, name: str, ref: str) -> bool:
        """Whether it was answered in its present meaning, so that it need not be asked for again."""
        spans = self._spans.get((name, ref))
        return bool(spans) and spans is not None and spans[-1].answered
