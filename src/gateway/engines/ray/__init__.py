"""The engine `ray`: Ray starts, places, restarts and finds node agents; requests never pass through it.

`keeper`, with the files `cluster` and `node_actor`, and `agent_guard` are programs of their own, for an
interpreter without this project's dependencies. `keeper` alone imports ray. `keeper_process` is the gateway's
side.
"""
