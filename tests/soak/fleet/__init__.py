"""A soak over a fleet: two gateways, three nodes and the links between them."""
