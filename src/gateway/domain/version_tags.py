"""The tags by which a version overrides settings for itself."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Generic, Literal, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.domain.models import ModelVersion
    from workers.protocol.messages import Batching, InputChecks

Choice = TypeVar("Choice", bound=str)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TagChoice(Generic[Choice]):
    """A tag that names one of `choices`, by its value."""

    tag: str
    choices: Mapping[str, Choice]

    def of(self, version: ModelVersion, default: Choice) -> Choice:
        """Return what the version's tag names; `default` without the tag, or for an unknown value."""
        return self.choices.get(version.tags.get(self.tag, ""), default)

    def log_unknown(self, version: ModelVersion) -> None:
        """Log a value that names none of the choices; call it when the version is loaded."""
        value = version.tags.get(self.tag)
        if value is not None and value not in self.choices:
            logger.warning(
                "Model %s has the tag %s=%r, which is none of %s",
                version.key,
                self.tag,
                value,
                ", ".join(self.choices),
                extra={
                    "event": "unknown_tag_value",
                    "model": str(version.key),
                    "tag": self.tag,
                    "value": value,
                },
            )


INPUT_CHECKS: Final[TagChoice[InputChecks]] = TagChoice(
    "gateway.input_checks", {"strict": "strict", "mlflow": "mlflow"}
)
"""What validates inputs: the codec (`strict`) or MLflow's functions (`mlflow`)."""
BATCHING: Final[TagChoice[Batching]] = TagChoice(
    "gateway.batching", {"auto": "auto", "on": "on", "off": "off"}
)
"""Whether one call of the model may have rows of several requests."""
ENVIRONMENT: Final[TagChoice[Literal["own", "shared"]]] = TagChoice(
    "gateway.environment", {"own": "own", "shared": "shared"}
)
"""Whether the version has a Python environment of its own, or shares the gateway's."""
