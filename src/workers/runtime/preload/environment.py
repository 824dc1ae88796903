"""Preload what an environment has: the worker's own code with what it imports, and flavors if they are there.

The libraries are a model's, in versions that it chose. So a flavor that cannot be imported is no fault here.
"""

from __future__ import annotations

from workers.runtime.preload.setup import CODEC_MODULES, FLAVOR_MODULES, OPTIONAL_CODEC_MODULES, set_up

failed_imports = set_up(CODEC_MODULES, OPTIONAL_CODEC_MODULES + FLAVOR_MODULES)
