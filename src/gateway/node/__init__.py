"""The node of a fleet: loads models on its machine, and predicts for the gateways that are linked to it."""
