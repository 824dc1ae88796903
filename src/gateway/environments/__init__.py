"""Virtual environments of model versions: requirements to a lock, and a lock to a folder on this machine."""
