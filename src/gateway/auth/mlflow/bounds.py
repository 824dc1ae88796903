"""How long answers of MLflow count, and how much callers may ask of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Ages in seconds, and numbers of calls.

    A right counts for `fresh`, and is asked again in the background after `refresh`, so that a caller who
    goes on need not wait. A refusal counts for `refused`. While MLflow is away, a right counts until it is
    `kept` old, and MLflow is asked again after `retry`.

    At most `calls` go to MLflow at once, at most `strangers` of them with credentials that were never right,
    and at most `calls_of_one` for one caller. `failures` in `failure_window` are allowed to each address and
    each user name. A refusal is sent at the earliest after `refusal_floor`: MLflow answers at once for a
    user that does not exist, but takes its time for a wrong password.
    """

    fresh: float = 30.0
    refresh: float = 20.0
    refused: float = 5.0
    kept: float = 300.0
    retry: float = 5.0
    calls: int = 4
    strangers: int = 2
    calls_of_one: int = 2
    waiting: int = 200
    waiting_strangers: int = 32
    waiting_of_one: int = 16
    failures: int = 10
    failure_window: float = 60.0
    refusal_floor: float = 0.5
    callers: int = 4096
    names_of_one: int = 256


DEFAULT = Bounds()
