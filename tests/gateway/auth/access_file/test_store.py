"""Proves that a changed access file is in force soon, and that a broken one changes nothing."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest

from gateway.auth.access_file.change_detector import signature
from gateway.auth.access_file.key import digest, new_key
from gateway.auth.access_file.problems import AccessFileError
from gateway.auth.access_file.store import INTERVAL_SECONDS, AccessFileStore
from gateway.auth.actions import Action
from gateway.auth.credentials import Credential
from gateway.auth.errors import Unauthenticated
from gateway.auth.keys import KeyAuthenticator
from gateway.domain.limits import Limits, Rate
from tests.support.access_files import keys, many_keys, write
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

A, B = new_key()[0], new_key()[0]


@asynccontextmanager
async def watching(path: Path) -> AsyncIterator[AccessFileStore]:
    """Load a file and look for changes a hundred times a second."""
    store = AccessFileStore(path, interval_seconds=0.01)
    store.load()
    task = asyncio.create_task(store.run())
    try:
        yield store
    finally:
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()


def ids(store: AccessFileStore) -> list[str]:
    """Return the ids of the keys in force."""
    return sorted(entry.principal.id for entry in store.current.keys.values())


def events(caplog: pytest.LogCaptureFixture, name: str) -> list[str]:
    """Return the messages of an event."""
    return [record.getMessage() for record in caplog.records if record.__dict__.get("event") == name]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with the key A."""
    return write(tmp_path / "access.yaml", keys(a=A))


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "gateway")


def test_a_change_is_seen_within_five_seconds() -> None:
    """Three looks at most, and the time to read ten thousand keys, on a machine that is busy."""
    assert 3 * INTERVAL_SECONDS + 3 <= 5


async def test_a_revoked_key(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is refused, another is recognised, and the log names both without their hashes."""
    async with watching(path) as store:
        authenticator = KeyAuthenticator(store)
        assert str(authenticator.recognise(Credential("key", A))) == "keys:a"
        write(path, keys(b=B))
        await until(lambda: ids(store) == ["b"])
        with pytest.raises(Unauthenticated):
            authenticator.recognise(Credential("key", A))
        assert str(authenticator.recognise(Credential("key", B))) == "keys:b"
    assert events(caplog, "access_file_loaded") == [
        "Access file loaded: 1 key, 0 roles, 0 principals",
        "Access file loaded: 1 key, 0 roles, 0 principals; added: b; removed: a",
    ]
    assert not any(digest(key).hex() in caplog.text or key in caplog.text for key in (A, B))


async def test_a_changed_key_is_named(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One with another hash, and one with other rights; its principal's limits stay those of its name."""
    async with watching(path) as store:
        write(path, keys(a=B))
        await until(lambda: digest(B) in store.current.keys)
        write(path, keys(a=B) + "    rate: 1/s\n")
        await until(lambda: store.current.keys[digest(B)].principal.limits.rate is not None)
    assert [line.rpartition("; ")[2] for line in events(caplog, "access_file_loaded")[1:]] == [
        "changed: a"
    ] * 2


@pytest.mark.parametrize("how", ["broken", "missing", "empty", "a folder", "no UTF-8", "readable"])
async def test_a_file_that_cannot_be_used(path: Path, how: str, caplog: pytest.LogCaptureFixture) -> None:
    """The keys of before stay, one line says why, and a file that is right again is used."""
    async with watching(path) as store:
        _spoil(path, how)
        await until(lambda: bool(events(caplog, "access_file_rejected")))
        for _ in range(10):  # more looks say nothing new
            await store.look(path)
        assert ids(store) == ["a"]
        _mend(path)
        await until(lambda: ids(store) == ["a", "b"])
    (line,) = events(caplog, "access_file_rejected")
    assert line.startswith("The access file cannot be used; the 1 key of before stays in force: ")
    for expected in {
        "broken": (
            "line 3: key 1 (b): sha256: must be",
            "line 4: key 2: it has no id",
            "line 5: there is no section",
        ),
        "missing": ("No such file or directory",),
        "empty": ("the file is empty",),
        "a folder": ("Is a directory",),
        "no UTF-8": ("is not UTF-8",),
        "readable": ("other users can read it: chmod 600",),
    }[how]:
        assert expected in line


def _spoil(path: Path, how: str) -> None:
    if how == "readable":
        path.chmod(0o644)
        return
    path.unlink()
    if how == "broken":
        write(path, "keys:\n- id: b\n  sha256: x\n- {}\nrolls: 1\n")
    elif how == "a folder":
        path.mkdir()
    elif how in {"empty", "no UTF-8"}:
        write(path, "").write_bytes(b"" if how == "empty" else b"\xff")


def _mend(path: Path) -> None:
    if path.is_dir():
        path.rmdir()
    write(path, keys(a=A, b=B)).chmod(0o600)


async def test_another_broken_file_is_another_line(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Also with the same problem: an operator sees that the last attempt was noticed."""
    async with watching(path):
        for number in range(1, 4):
            write(path, f"rolls: {number}")
            await until(partial(_rejections, caplog, number))


def _rejections(caplog: pytest.LogCaptureFixture, expected: int) -> bool:
    return len(events(caplog, "access_file_rejected")) == expected


async def test_the_file_of_before_again(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """After a broken one, a line says that the file is right again."""
    async with watching(path):
        write(path, "rolls: 1")
        await until(lambda: bool(events(caplog, "access_file_rejected")))
        write(path, keys(a=A))
        await until(lambda: len(events(caplog, "access_file_loaded")) == 2)


async def test_a_mounted_secret(tmp_path: Path) -> None:
    """Kubernetes exchanges the folder that a link beside the file's own link leads to."""
    _mount(tmp_path, "..1")
    async with watching(tmp_path / "access.yaml") as store:
        _exchange(tmp_path, "..2")
        await until(lambda: digest(B) in store.current.keys)
        assert digest(A) not in store.current.keys


def _mount(folder: Path, chosen: str) -> None:
    for name, key in (("..1", A), ("..2", B)):
        (folder / name).mkdir()
        write(folder / name / "access.yaml", keys(k=key))
    (folder / "access.yaml").symlink_to("..data/access.yaml")
    _exchange(folder, chosen)


def _exchange(folder: Path, chosen: str) -> None:
    (folder / "..data_tmp").symlink_to(chosen)
    (folder / "..data_tmp").rename(folder / "..data")


async def test_a_change_that_stat_does_not_show(path: Path) -> None:
    """Same size, place and times: a second change within one tick of the clock is found all the same."""
    async with watching(path) as store:
        write(path, keys(a=B))
        store._detector.was_read(signature(path), changed=True)  # as if it had not changed
        await until(lambda: digest(B) in store.current.keys)


async def test_a_request_reads_at_once(path: Path) -> None:
    """SIGHUP waits for no look, and reads what has just changed."""
    store = AccessFileStore(path, interval_seconds=3600)
    store.load()
    task = asyncio.create_task(store.run())
    write(path, keys(b=B))
    store.request()
    await until(lambda: ids(store) == ["b"])
    write(path, keys(a=A, b=B))
    store.request()
    await until(lambda: ids(store) == ["a", "b"])
    task.cancel()
    await asyncio.wait([task])


async def test_holders_of_tokens_and_certificates(path: Path) -> None:
    """They have what the file in force says, and its number tells those who keep that of a change."""
    async with watching(path) as store:
        first = store.generation
        assert store.rights_for_token("https://i", "joe", ["a"]) is None
        assert store.rights_for_certificate(["a.example.org"]) is None
        write(
            path,
            "principals:\n"
            "  jwt:https://i|group:a: {grants: {read: wine}, rate: 1/s}\n"
            "  jwt:https://i|sub:ann: {grants: {read: beer}}\n"
            "  mtls:a.example.org: {grants: {read: wine}, concurrent: 2}\n",
        )
        await until(lambda: store.generation == first + 1)
        token = store.rights_for_token("https://i", "joe", ["a"])
        certificate = store.rights_for_certificate(["x", "A.example.org"])
        assert token is not None
        assert certificate is not None
        assert token[0].decide(Action.READ, "wine", None)
        assert token[1:] == (Limits(Rate(1, 1)), False)
        for groups in ([], ["a"]):
            subject = store.rights_for_token("https://i", "ann", groups)
            assert subject is not None
            assert subject[2]
        assert store.rights_for_token("https://j", "ann", ["a"]) is None
        assert certificate[0] == "a.example.org"
        assert certificate[2] == Limits(concurrent=2)
        write(path, "rolls: 1")
        store.request()
        await until(lambda: store._rejected is not None)
        assert store.generation == first + 1


async def test_a_request_sees_one_file(path: Path) -> None:
    """Readers in between see the old keys or the new ones, never some of both."""
    async with watching(path) as store:
        seen = set()
        for number in range(20):
            write(path, keys(a=A) if number % 2 else keys(a=B, b=A))
            for _ in range(20):
                await asyncio.sleep(0)
                seen.add(frozenset(store.current.keys))
            store.request()
            await asyncio.sleep(0.002)
        assert seen <= {frozenset({digest(A)}), frozenset({digest(A), digest(B)})}


def test_a_broken_file_at_the_start(path: Path) -> None:
    """Nothing starts, and every problem is named."""
    write(path, "keys: [{}]\nrolls: 1\n")
    store = AccessFileStore(path)
    with pytest.raises(AccessFileError) as caught:
        store.load()
    assert len(caught.value.problems) == 4
    assert store.current.keys == {}


async def test_without_a_file() -> None:
    """There are no keys, and nothing to look for."""
    store = AccessFileStore(None)
    store.load()
    await store.run()
    assert store.current.keys == {}


async def test_a_large_file_leaves_the_event_loop_alone(path: Path) -> None:
    """It is read and compared in a thread: other tasks go on meanwhile."""
    async with watching(path) as store:
        write(path, many_keys(3000))
        store.request()
        turns = 0
        while len(store.current.keys) != 3000:
            await asyncio.sleep(0)
            turns += 1
        assert turns > 10
