"""Orders to the fork server: a call for the new process to make, with sockets and pipes in its arguments."""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass
from multiprocessing import context, reduction
from typing import TYPE_CHECKING, Any, Final

from workers.forkserver.received import ReceivedDescriptor

if TYPE_CHECKING:
    from collections.abc import Callable

_PICKLE_PROTOCOL: Final = 4


@dataclass(frozen=True, slots=True)
class PickledOrder:
    """A pickled call, and the descriptors in it, which the fork server passes on."""

    body: bytes
    descriptors: tuple[int, ...]

    @classmethod
    def of(cls, function: Callable[..., object], *arguments: Any) -> PickledOrder:
        """Return the order to call a function of a module."""
        collector, buffer = _DescriptorCollector(), io.BytesIO()
        context.set_spawning_popen(collector)  # type: ignore[arg-type] # it asks for no more
        try:
            reduction.dump((function, arguments), buffer)
        finally:
            context.set_spawning_popen(None)
        return cls(buffer.getvalue(), tuple(collector.descriptors))


def plain_order(function: Callable[[str], object], text: str, descriptors: tuple[int, ...]) -> PickledOrder:
    """Return the order to call a function of a module with a text, which any Python from 3.8 on can read."""
    return PickledOrder(pickle.dumps((function, (text,)), protocol=_PICKLE_PROTOCOL), descriptors)


class _DescriptorCollector:
    """What multiprocessing asks, while it pickles, for a name of each descriptor."""

    DupFd = ReceivedDescriptor

    def __init__(self) -> None:
        self.descriptors: list[int] = []

    def duplicate_for_child(self, descriptor: int) -> int:
        """Return the place of a descriptor among those that are passed on."""
        self.descriptors.append(descriptor)
        return len(self.descriptors) - 1
