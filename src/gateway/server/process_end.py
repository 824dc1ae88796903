"""The end of several processes below the supervisor, in time or by force."""

from __future__ import annotations

import logging
import signal
import time
from typing import TYPE_CHECKING, Final

from gateway.server.process_slots import wait_for_events

if TYPE_CHECKING:
    from gateway.server.process_slots import ProcessSlots
    from gateway.server.signals import SignalInbox

logger = logging.getLogger(__name__)

_EXIT_SECONDS: Final = 10.0  # for what a process does after its drain


def end_processes(slots: ProcessSlots, first: signal.Signals, *, seconds: float, inbox: SignalInbox) -> bool:
    """Send `first` to processes, which may drain for `seconds`, and return once all have exited.

    If a second signal comes, or came before, they get one too. A process that takes too long is killed.
    Return whether there was a second signal.
    """
    slots.send_signal(first)
    forced = False
    ends = time.monotonic() + seconds + _EXIT_SECONDS
    while running := slots.running:
        if len(inbox.stop_signals) > 1 and not forced:
            forced = True
            # A different signal: two of the same number may merge into one while they are pending.
            slots.send_signal(signal.SIGINT if first == signal.SIGTERM else signal.SIGTERM)
            ends = time.monotonic() + _EXIT_SECONDS
        if time.monotonic() >= ends:
            logger.error(
                "Killing %d processes that did not exit in time",
                len(running),
                extra={"event": "processes_killed", "pids": [process.pid for process in running]},
            )
            slots.send_signal(signal.SIGKILL)
            ends += _EXIT_SECONDS
        wait_for_events(running, inbox, ends - time.monotonic())
    return forced
