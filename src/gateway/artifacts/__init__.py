"""Provides the folder of a model version on this machine, complete or absent; the entry is `cache`."""
