"""The share of a GPU that a version's tag asks for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from workers.errors import ModelLoadError

if TYPE_CHECKING:
    from collections.abc import Mapping

GPU_TAG: Final = "gateway.gpu"
_SHARE: Final = re.compile(r"1(?:\.0{1,6})?|0?\.\d{1,6}|0", re.ASCII)


def gpu_share(tags: Mapping[str, str]) -> int:
    """Return the thousandths of one GPU that the version wants; 0 if it wants none.

    Raise ModelLoadError for a value that is no share: the model may not work without the GPU that it means.
    """
    value = tags.get(GPU_TAG, "0").strip()
    share = round(float(value) * 1000) if _SHARE.fullmatch(value) else -1
    if share < 0 or (not share and float(value)):
        raise ModelLoadError(
            f"The version's tag {GPU_TAG} must be a share of one GPU, from 0.001 to 1, such as 1 or 0.5."
        )
    return share
