"""Confine a worker process, so that model code reaches its own files and nothing else of the machine.

Landlock (files, signals, other processes) and seccomp (system calls) by `ctypes`, without privileges or
packages. Linux only. `confine.confine` is called before any thread and before any code of the model.
"""
