"""Measures the gateway beside its peers: the same models, rows and machine, in one run."""
