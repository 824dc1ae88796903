"""The engine of a fleet, in the gateway: which node gets what, and what happens when one is lost."""
