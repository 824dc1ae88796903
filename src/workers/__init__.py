"""Warm worker processes, each holding one model version; the only door is `workers.pool`."""
