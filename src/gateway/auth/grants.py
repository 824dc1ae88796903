"""Rights that are written down: patterns of models for each action."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import translate
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from gateway.auth.actions import GRANTED, Action
from gateway.domain.refs import Alias, ModelRef, Selector, format_ref

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from gateway.auth.rights import Extent

_MAX_PATTERN_LENGTH: Final = 512
_MAX_PATTERNS: Final = 1000
_MAX_DECISIONS: Final = 1000  # remembered for each action of one principal
_ENCODED: Final = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
_SPLIT: Final = re.compile(r"(?P<name>[^/@]+)(?:/(?P<version>[^/@]+)|/?@(?P<alias>[^/@]+))?")


@dataclass(frozen=True)
class ModelPattern:
    """A pattern such as `wine`, `team-*`, `fraud@champion` or `fraud/3`, written as in a URL.

    `*` stands for any characters, `?` for one and `[ab]` for one of some. Case matters. Without a version it
    covers all of a model; with one, requests that name that version or alias alone. A name with `/`, `@` or
    `%` has `%2F`, `%40` or `%25` instead. Raise ValueError if the text has another form.
    """

    text: str

    def __post_init__(self) -> None:
        """Check the text."""
        if len(self.text) > _MAX_PATTERN_LENGTH:
            raise ValueError(f"{self.text[:40]!r}… has more than {_MAX_PATTERN_LENGTH} characters")
        if _SPLIT.fullmatch(self.text) is None or not _is_text(self.text):
            raise ValueError(
                f"{self.text!r} is not a pattern such as wine, team-*, fraud@champion or fraud/3 "
                "(of / and @ in a name: %2F and %40)"
            )

    @cached_property
    def _parts(self) -> tuple[Callable[[str], Any], Callable[[str], Any] | None, bool]:
        match = _SPLIT.fullmatch(self.text)
        assert match is not None  # noqa: S101 - checked when it was made
        version = match["version"] or match["alias"]
        return _matcher(match["name"]), _matcher(version) if version else None, bool(match["alias"])

    def matches_name(self, name: str) -> bool:
        """Return whether it covers a model, or some versions of it."""
        return self._parts[0](name) is not None

    def matches(self, name: str, selector: Selector | None) -> bool:
        """Return whether it covers a version of a model, or with None the whole model."""
        match_name, match_version, is_alias = self._parts
        if match_name(name) is None:
            return False
        if match_version is None:
            return True
        if selector is None or isinstance(selector, Alias) != is_alias:
            return False
        return match_version(format_ref(ModelRef("", selector))[1:]) is not None


class Grants:
    """Rights by patterns. An action without a pattern that matches is refused."""

    def __init__(self, patterns: Mapping[Action, Iterable[ModelPattern]]) -> None:
        self._patterns = {action: tuple(patterns.get(action, ())) for action in GRANTED}
        self._decisions: dict[Action, dict[tuple[str, Selector | None], bool]] = {
            each: {} for each in GRANTED
        }

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Grants) and self._patterns == other._patterns

    def __hash__(self) -> int:
        return hash(tuple(self._patterns.items()))

    @property
    def reads(self) -> Extent:
        """How many of the models may be read."""
        patterns = self._patterns[Action.READ]
        if any(pattern.text == "*" for pattern in patterns):
            return "all"
        return "some" if patterns else "none"

    def allows_route(self, action: Action) -> bool:
        """Return True for a list of models, which shows what may be read; else whether any grant names it."""
        return action is Action.READ or bool(self._patterns[action])

    def decide(self, action: Action, name: str, selector: Selector | None) -> bool:
        """Return whether a version of a model, or with None all of it, may be used."""
        decisions, key = self._decisions[action], (name, selector)
        known = decisions.get(key)
        if known is None:
            if len(decisions) >= _MAX_DECISIONS:
                decisions.clear()
            known = any(pattern.matches(name, selector) for pattern in self._patterns[action])
            decisions[key] = known
        return known

    def covers(self, action: Action, name: str) -> bool:
        """Return whether any version of a model may be used."""
        return any(pattern.matches_name(name) for pattern in self._patterns[action])

    async def ask(self, action: Action, name: str, selector: Selector | None) -> bool:
        """Return what `decide` does."""
        return self.decide(action, name, selector)

    async def readable(self, names: Iterable[str]) -> frozenset[str]:
        """Return those of `names` that may be read as a whole."""
        return frozenset(name for name in names if self.decide(Action.READ, name, None))


NO_RIGHTS: Final = Grants({})


def parse_grants(value: object) -> Grants:
    """Return the grants of a mapping from actions to patterns; raise ValueError with every problem.

    `status` concerns no model: its patterns must be `*`.
    """
    if not isinstance(value, dict):
        raise ValueError(  # noqa: TRY004 - a problem of the file, like all others
            'grants must be actions with lists of patterns: {invoke: ["wine", "team-*"]}'
        )
    problems: list[str] = []
    patterns = {
        action: tuple(_parse_patterns(action, value[action.value], problems=problems))
        for action in GRANTED
        if action.value in value
    }
    known = [action.value for action in GRANTED]
    problems += [f"{name!r} is none of {', '.join(known)}" for name in value if name not in known]
    if problems:
        raise ValueError("; ".join(problems))
    return Grants(patterns)


def _parse_patterns(action: Action, value: object, *, problems: list[str]) -> Iterable[ModelPattern]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or len(texts) > _MAX_PATTERNS:
        problems.append(f"{action.value} must be a list of at most {_MAX_PATTERNS} patterns")
        return
    for text in texts:
        if action is Action.STATUS and text != "*":
            problems.append('status concerns no model: it must be ["*"]')
            continue
        try:
            yield ModelPattern(str(text) if isinstance(text, int) else _require_text(text))
        except ValueError as error:
            problems.append(f"{action.value}: {error}")


def _require_text(value: object) -> str:
    if isinstance(value, str):
        return value
    raise ValueError(f"{value!r} is not a pattern")


def _matcher(pattern: str) -> Callable[[str], Any]:
    """Return a function that matches a text with a pattern, in which `%2A` is a star and no wildcard."""
    return re.compile(translate(_ENCODED.sub(lambda found: _literal(unquote(found[0])), pattern))).match


def _literal(text: str) -> str:
    return "".join(f"[{character}]" if character in "*?[" else character for character in text)


def _is_text(pattern: str) -> bool:
    """Return whether the percent-encoded bytes of a pattern are UTF-8 without a NUL."""
    try:
        return "\x00" not in unquote(pattern, errors="strict")
    except UnicodeDecodeError:
        return False
