"""The fork server: a program that imports what workers need, and forks a process for each of them.

It runs by itself, under any interpreter, and uses the standard library alone until it preloads. The gateway
speaks to it over one socket pair (`transport`); no other process can reach it.
"""
