"""Proves how shares of devices are given away: never more than a device has, and whole ones kept for last."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.workers.conftest import key
from workers.devices.inventory import Device, DeviceMemory
from workers.devices.shares import WHOLE, DeviceShares

DEVICES = (Device("GPU-1", "a"), Device("GPU-2", "b"))


def shares() -> DeviceShares:
    """Return two devices that no model has."""
    made = DeviceShares()
    made.devices = DEVICES
    return made


def test_halves_share_a_device_and_leave_the_other_whole() -> None:
    """Two halves are put together, so that a model that needs a whole device still finds one."""
    table = shares()
    first, second = table.claim(key("a"), 500), table.claim(key("b"), 500)
    assert first is not None
    assert second is not None
    assert first.device == second.device
    whole = table.claim(key("c"), WHOLE)
    assert whole is not None
    assert whole.device != first.device
    assert table.claim(key("d"), 1) is None
    table.release(second)
    assert table.claim(key("d"), 500) is not None


def test_memory_that_others_use_counts_where_it_is_known() -> None:
    """A model whose need is known goes where there is room for it, and nowhere if there is none."""
    table = shares()
    table.memory = {"GPU-1": DeviceMemory(1000, 900), "GPU-2": DeviceMemory(1000, 100)}
    claim = table.claim(key("a"), 100, need_bytes=200)
    assert claim is not None
    assert claim.device.uuid == "GPU-2"
    assert table.claim(key("b"), 100, need_bytes=901) is None
    table.memory = {}
    assert table.claim(key("b"), 100, need_bytes=901) is not None


def test_only_devices_that_would_have_room_are_freed() -> None:
    """A device whose busy models leave too little is left alone: evicting its idle one would not help."""
    table = shares()
    for name, share in (("busy", 800), ("idle", 200), ("other", 900)):
        assert table.claim(key(name), share) is not None
    assert table.devices_to_free(500, [key("idle"), key("other")]) == [DEVICES[1]]
    assert table.devices_to_free(200, [key("idle")]) == [DEVICES[0]]
    assert table.devices_to_free(500, []) == []


@given(st.lists(st.one_of(st.integers(1, WHOLE), st.just("release")), max_size=40))
def test_no_device_is_given_away_more_than_once(steps: list[int | str]) -> None:
    """Whatever is claimed and released, the shares of a device never exceed it, nor are any lost."""
    table = shares()
    for number, step in enumerate(steps):
        if isinstance(step, int):
            fits = any(table.taken(device) + step <= WHOLE for device in DEVICES)
            assert (table.claim(key(f"m{number}"), step) is not None) == fits
        elif table.claims:
            table.release(table.claims[0])
        assert all(0 <= table.taken(device) <= WHOLE for device in DEVICES)
    assert sum(map(table.taken, DEVICES)) == sum(claim.share for claim in table.claims)
