"""Proves that the audit log has what it was given, in whole lines, and holds up no request."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest

from gateway.auth.audit import AUDIT_LINES_LOST, AuditLog, AuditLogUnusable
from gateway.auth.audit_file import AuditFile
from tests.support.waiting import until
from workers.metrics import Counters

if TYPE_CHECKING:
    from pathlib import Path


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().split("\n")[:-1]]


async def test_each_line_is_one_object(tmp_path: Path) -> None:
    """Whatever the values are: a name with a line break forges no line; None is left out."""
    file = tmp_path / "audit.log"
    log = AuditLog(str(file), counters=Counters())
    await log.open()
    log.write({"model": 'a\n{"event": "forged"}', "version": None, "status": 404})
    log.write({"model": "\u2028x", "status": 403})
    await log.close()
    first, second = lines(file)
    assert first.pop("time").endswith("Z")
    assert first == {"event": "audit", "model": 'a\n{"event": "forged"}', "status": 404}
    assert second["status"] == 403


async def test_a_file_that_is_renamed_is_begun_anew(tmp_path: Path) -> None:
    """So that a program that rotates logs needs no signal to the gateway."""
    file = tmp_path / "audit.log"
    log = AuditLog(str(file), counters=Counters())
    await log.open()
    log.write({"number": 1})
    await log.close()
    await log.open()
    file.rename(tmp_path / "audit.log.1")
    log.write({"number": 2})
    await log.close()
    assert [line["number"] for line in lines(tmp_path / "audit.log.1")] == [1]
    assert [line["number"] for line in lines(file)] == [2]


async def test_what_the_file_does_not_take_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that stands still holds up no request: lines beyond those that wait are lost, and counted."""
    counters = Counters()
    monkeypatch.setattr("gateway.auth.audit._MAX_WAITING", 10)
    log = AuditLog(str(tmp_path / "audit.log"), counters=counters)
    still = threading.Event()
    monkeypatch.setattr(AuditFile, "write", lambda *_: still.wait(60))
    await log.open()
    for number in range(100):
        log.write({"number": number})
    still.set()
    await log.close()
    assert 85 <= counters.value(AUDIT_LINES_LOST) <= 90


async def test_a_file_that_stands_still_does_not_hold_up_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A pipe that nothing reads, or a file system that is away; also if no more lines can wait."""
    still = threading.Event()
    monkeypatch.setattr("gateway.auth.audit._MAX_WAITING", 10)
    monkeypatch.setattr("gateway.auth.audit._CLOSE_SECONDS", 0.2)
    monkeypatch.setattr(AuditFile, "write", lambda *_: still.wait(60))
    log = AuditLog(str(tmp_path / "audit.log"), counters=Counters())
    await log.open()
    for number in range(100):
        log.write({"number": number})
    await log.close()
    still.set()
    (told,) = [record for record in caplog.records if vars(record).get("event") == "audit_log_failed"]
    assert "does not take its last 10 lines" in told.getMessage()


async def test_a_file_that_cannot_be_opened_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The lines of that time are lost and counted, and it is tried again with the next one."""
    counters, folder = Counters(), tmp_path / "logs"
    folder.mkdir()
    log = AuditLog(str(folder / "audit.log"), counters=counters)
    await log.open()
    folder.rename(tmp_path / "logs.old")
    for number in range(3):
        log.write({"number": number})
    await until(lambda: counters.value(AUDIT_LINES_LOST) == 3)
    folder.mkdir()
    log.write({"number": 3})
    await log.close()
    assert [line["number"] for line in lines(folder / "audit.log")] == [3]
    assert (folder / "audit.log").stat().st_mode & 0o777 == 0o640
    (told,) = [record for record in caplog.records if vars(record).get("event") == "audit_log_failed"]
    assert "No such file or directory" in told.getMessage()


async def test_a_full_disk() -> None:
    """Its lines are counted; nothing else is printed."""
    counters = Counters()
    log = AuditLog("/dev/full", counters=counters)
    await log.open()
    for number in range(3):
        log.write({"number": number})
    await until(lambda: counters.value(AUDIT_LINES_LOST) == 3)
    await log.close()


async def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    """The gateway does not start: an operator who wants an audit log must not find that there was none."""
    log = AuditLog(str(tmp_path / "no" / "such" / "folder"), counters=Counters())
    with pytest.raises(AuditLogUnusable, match=r"GATEWAY_AUDIT_LOG is .*No such file or directory"):
        await log.open()
    await log.close()


async def test_no_log_is_wanted() -> None:
    """Then nothing is opened."""
    log = AuditLog("off", counters=Counters())
    assert not log.active
    await log.open()
    await log.close()
