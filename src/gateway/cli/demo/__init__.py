"""`gateway demo`: its own MLflow server, example models on it, and the gateway in front.

The entry point is `gateway.cli.demo.run`. This file imports nothing, so that the demo's other programs stay
small.
"""
