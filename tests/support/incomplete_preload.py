"""A preload of the fork server in which one module cannot be imported."""

from __future__ import annotations

from workers.runtime.preload.setup import CODEC_MODULES, set_up

failed_imports = set_up(("a_missing_package", *CODEC_MODULES))
