"""What a caller takes for an answer, by its Accept header."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from workers.protocol.messages import CONTENT_TYPES, JSON

RESPONSE_MEDIA_TYPES: Final = tuple(CONTENT_TYPES)
"""The media types that predictions can have; the first that is liked best is taken."""


@lru_cache(maxsize=256)
def negotiate_media_type(accept: str) -> str | None:
    """The media type that an Accept header likes best, None where it takes none of them.

    Its most exact match decides on each type; JSON wins ties, and so wildcards.
    """
    if not accept.strip():
        return JSON
    liked = {media_type: _media_type_weight(accept, media_type) for media_type in RESPONSE_MEDIA_TYPES}
    best = max(RESPONSE_MEDIA_TYPES, key=lambda media_type: liked[media_type])
    return best if liked[best] > 0 else None


def parse_weights(header: str) -> list[tuple[str, float]]:
    """The names of a header and their weights, 1 where none is given that can be read."""
    found = []
    for part in header.split(","):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        told = [weight for weight in map(_parse_weight, parameters) if weight is not None]
        found.append((name, told[0] if told else 1.0))
    return found


def _media_type_weight(accept: str, media_type: str) -> float:
    exactness = {"*/*": 1, f"{media_type.partition('/')[0]}/*": 2, media_type: 3}
    best, liking = 0, 0.0
    for name, weight in parse_weights(accept):
        rank = exactness.get(name, 0)
        if rank > best:
            best, liking = rank, weight
        elif rank and rank == best:
            liking = max(liking, weight)
    return liking


def _parse_weight(parameter: str) -> float | None:
    key, _, value = parameter.partition("=")
    if key.strip() != "q":
        return None
    try:
        return min(1.0, max(0.0, float(value)))
    except ValueError:
        return None
