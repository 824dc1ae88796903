"""Measures the gateway beside its peers: the same model, bodies and machine, in one run."""
