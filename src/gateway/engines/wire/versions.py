"""A version of a model as JSON, with all that a node needs to fetch and load it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from gateway.domain.models import ModelVersion
from gateway.engines.wire.fields import Fields, WireError, from_number

_TEXTS: Final = (
    "name",
    "version",
    "status",
    "uri",
    "fingerprint",
    "run_id",
    "model_id",
    "logged_name",
    "stage",
    "description",
)


def version_to_dict(version: ModelVersion) -> dict[str, Any]:
    """Return all fields of the version."""
    return {
        **{name: getattr(version, name) for name in _TEXTS},
        "source": version.source,
        "aliases": list(version.aliases),
        "tags": dict(version.tags),
        "metrics": {name: from_number(value) for name, value in version.metrics.items()},
        "created": version.created and version.created.isoformat(),
        "updated": version.updated and version.updated.isoformat(),
    }


def version_from_dict(value: object) -> ModelVersion:
    """Return the version. Raise WireError."""
    fields = Fields(value, "a version")
    return ModelVersion(
        **{name: fields.text(name) for name in _TEXTS},
        source=fields.one_of("source", ("registry", "experiment")),
        aliases=fields.texts("aliases"),
        tags=fields.text_map("tags"),
        metrics=fields.number_map("metrics"),
        created=_time(fields, "created"),
        updated=_time(fields, "updated"),
    )


def _time(fields: Fields, name: str) -> datetime | None:
    if (text := fields.optional_text(name)) is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise WireError(f"a version has a {name} that is no time") from error
    if time.tzinfo is None:
        raise WireError(f"a version has a {name} without a time zone")
    return time
