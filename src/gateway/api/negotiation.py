"""Choice of the response's media type by the Accept header."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from workers.protocol.messages import CONTENT_TYPES, JSON

RESPONSE_MEDIA_TYPES: Final = tuple(CONTENT_TYPES)
"""The media types of a prediction; earlier ones win ties."""


@lru_cache(maxsize=256)
def negotiate_media_type(accept: str) -> str | None:
    """Return the media type with the highest weight in an Accept header, or None if it accepts none.

    The most exact match decides for each type; JSON wins ties, and so wildcards.
    """
    if not accept.strip():
        return JSON
    weights = {media_type: _media_type_weight(accept, media_type) for media_type in RESPONSE_MEDIA_TYPES}
    best = max(RESPONSE_MEDIA_TYPES, key=lambda media_type: weights[media_type])
    return best if weights[best] > 0 else None


def parse_weights(header: str) -> list[tuple[str, float]]:
    """Return the names of a header with their weights; the weight is 1 if none is given or valid."""
    names = []
    for part in header.split(","):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        weights = [weight for weight in map(_parse_weight, parameters) if weight is not None]
        names.append((name, weights[0] if weights else 1.0))
    return names


def _media_type_weight(accept: str, media_type: str) -> float:
    exactness = {"*/*": 1, f"{media_type.partition('/')[0]}/*": 2, media_type: 3}
    best_rank, best_weight = 0, 0.0
    for name, weight in parse_weights(accept):
        rank = exactness.get(name, 0)
        if rank > best_rank:
            best_rank, best_weight = rank, weight
        elif rank and rank == best_rank:
            best_weight = max(best_weight, weight)
    return best_weight


def _parse_weight(parameter: str) -> float | None:
    key, _, value = parameter.partition("=")
    if key.strip() != "q":
        return None
    try:
        return min(1.0, max(0.0, float(value)))
    except ValueError:
        return None
