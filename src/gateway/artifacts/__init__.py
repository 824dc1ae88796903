"""Model version → directory on this machine, complete or absent; `cache` is the door."""
