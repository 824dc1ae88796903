"""`gateway demo`: an MLflow server of its own, example models in it, and the gateway in front.

The door is `gateway.demo.show`; this file imports nothing, so that the programs beside it stay small.
"""
