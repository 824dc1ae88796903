"""A soak: mixed load over thirty models with random faults; every answer is checked, nothing may be left."""
