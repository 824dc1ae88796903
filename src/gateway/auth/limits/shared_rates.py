"""The theoretical arrival of each principal, in memory that all gateway processes share."""

from __future__ import annotations

import fcntl
import mmap
import os
import secrets
import sys
import tempfile
import time
from hashlib import blake2b
from itertools import count
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gateway.auth.limits.gcra import Gcra

_WAYS: Final = 8  # entries of one bucket
_FIELDS: Final = 4  # of an entry: the principal's hash, its arrival in nanoseconds, ticks beyond, unused
_FIELD_BYTES: Final = 8
_BUCKET_FIELDS: Final = _WAYS * _FIELDS
_BUCKETS: Final = 2**15  # 8 MiB, of which pages in use take memory; 100 000 principals fill 3 in 1000
_HASH_MASK: Final = 2**63 - 1
_MAX_KNOWN_HASHES: Final = 10_000
_SPINS: Final = 20
_NAP_SECONDS: Final = 0.0001
_PATIENCE_SECONDS: Final = 0.02


class SharedRates:
    """A table of arrivals, created before the gateway processes are forked; all of them count in it.

    It is a hash table with buckets of eight. A full bucket forgets the arrival that is least ahead: one that
    has passed tells nothing. The hash has a secret key, so that no caller can choose whose bucket it is in.

    Each bucket has a lock of the kernel, which ends with the process that holds it. A process that holds one
    and does not run is waited for once, for 20 milliseconds. After that, and until the lock is free again,
    the others count without: a request may then be counted once too seldom. No descriptor reaches workers.
    """

    def __init__(self, *, buckets: int = _BUCKETS, patience_seconds: float = _PATIENCE_SECONDS) -> None:
        """Wait for locks as long as `patience_seconds`. Raise OSError if there is no memory."""
        self._patience_seconds = patience_seconds
        self._buckets = buckets
        self._secret = secrets.token_bytes(32)
        self._descriptor = _open_unnamed()
        try:
            size = buckets * _BUCKET_FIELDS * _FIELD_BYTES
            os.ftruncate(self._descriptor, size)
            self._memory = mmap.mmap(self._descriptor, size)
        except BaseException:
            os.close(self._descriptor)
            raise
        self._fields = memoryview(self._memory).cast("q")
        self._hashes: dict[str, tuple[int, int]] = {}
        self._impatient: set[int] = set()

    def close(self) -> None:
        """Release the memory, in this process."""
        self._fields.release()
        self._memory.close()
        os.close(self._descriptor)

    def take(self, name: str, gcra: Gcra, *, now: int) -> tuple[int, int]:
        """Take one request of the principal `name`, and return what `Gcra.take` returns."""
        found, bucket = self._hashes.get(name) or self._hash(name)
        locked = self._lock(bucket)
        try:
            return self._take(found, bucket * _BUCKET_FIELDS, gcra, now=now)
        finally:
            if locked:
                fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, bucket)

    def _take(self, name_hash: int, start: int, gcra: Gcra, *, now: int) -> tuple[int, int]:
        fields, ticks = self._fields, gcra.ticks
        for entry in range(start, start + _BUCKET_FIELDS, _FIELDS):
            if fields[entry] == name_hash:
                arrival = fields[entry + 1] * ticks
                if ticks > 1:
                    arrival += min(fields[entry + 2], ticks - 1)
                taken = gcra.take(arrival, now)
                fields[entry + 1], fields[entry + 2] = divmod(taken[0], ticks)
                return taken
        entry = min(range(start, start + _BUCKET_FIELDS, _FIELDS), key=lambda each: fields[each + 1])
        taken = gcra.take(0, now)
        fields[entry + 1], fields[entry + 2] = divmod(taken[0], ticks)
        fields[entry] = name_hash
        return taken

    def _hash(self, name: str) -> tuple[int, int]:
        """Return the hash of a name, which is not 0, and its bucket."""
        if len(self._hashes) >= _MAX_KNOWN_HASHES:
            self._hashes.clear()
        digest = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16, key=self._secret).digest()
        name_hash = int.from_bytes(digest[:8], "little") & _HASH_MASK or 1
        found = self._hashes[name] = name_hash, int.from_bytes(digest[8:], "little") % self._buckets
        return found

    def _lock(self, bucket: int) -> bool:
        """Lock a bucket; return False if another process holds its lock for too long."""
        if self._try_lock(bucket):
            return True
        if bucket in self._impatient:
            return False
        ends = time.monotonic() + self._patience_seconds
        for attempt in count():
            if self._try_lock(bucket):
                return True
            if time.monotonic() >= ends:
                break
            time.sleep(0 if attempt < _SPINS else _NAP_SECONDS)
        self._impatient.add(bucket)
        return False

    def _try_lock(self, bucket: int) -> bool:
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, bucket)
        except OSError:  # another process holds it, or the kernel has no more locks
            return False
        if self._impatient:
            self._impatient.discard(bucket)
        return True


def _open_unnamed() -> int:
    """Return the descriptor of a file without a name, which programs that are started do not inherit."""
    if sys.platform == "linux":
        return os.memfd_create("gateway-rates", os.MFD_CLOEXEC)
    else:  # noqa: RET505 - a type checker would find the code below unreachable
        with tempfile.TemporaryFile() as file:
            return os.dup(file.fileno())
