"""The protocol of a link: the newest that both programs speak, or none."""

from __future__ import annotations

import pytest

from gateway.engines.wire import protocol


@pytest.mark.parametrize(
    ("theirs", "ours", "chosen"),
    [
        ("1-1", (1, 1), 1),
        ("1-2", (2, 3), 2),
        ("2-3", (1, 2), 2),
        ("1-9", (3, 4), 4),
        ("3-3", (1, 2), None),
        ("2-1", (1, 2), None),
        ("", (1, 2), None),
        ("1", (1, 2), None),
        ("1-2\n", (1, 2), None),
        ("1-99999", (1, 2), None),
        ("\u0661-2", (1, 2), None),
    ],
)
def test_the_newest_protocol_that_both_speak_is_chosen(
    theirs: str, ours: tuple[int, int], chosen: int | None
) -> None:
    """Machines are updated one by one, so N and N-1 must find each other; what is no range is no protocol."""
    assert protocol.choose(theirs, *ours) == chosen


def test_this_program_finds_itself() -> None:
    """What it says it speaks is what it understands."""
    assert protocol.choose(protocol.spoken()) == protocol.NEWEST
