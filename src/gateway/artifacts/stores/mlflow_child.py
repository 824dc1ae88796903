"""Files from a store that only MLflow itself can read, in a process of its own.

Usage: `python -P -m workers.download`, with one JSON object on one line of standard input:
`{"uri": …, "folder": …}` brings every file at `uri` to `folder`, which must not be there yet;
with `"path"` and `"limit"` that one file alone, as `folder` itself. Standard input stays open for
as long as the answer is wanted. The answer is one JSON object on one line of standard output:
`{"outcome": "done" | "absent" | "large" | "full"}`, the last where the disk has no space left, or
`{"outcome": "failed", "exception": …, "log": …}`, and the exit code is 0 for `done`, otherwise 1.
"""

from __future__ import annotations

import errno
import json
import os
import posixpath
import shutil
import sys
import tempfile
import threading
import traceback
from pathlib import Path
from typing import Any

_MAX_LOG_CHARS = 8000


def main() -> int:
    """Read the order, carry it out, answer; returns the exit code."""
    # Libraries print as they like: only the answer may reach the real standard output.
    answer_to = os.dup(1)
    os.dup2(2, 1)
    order: dict[str, Any] = json.loads(sys.stdin.readline())
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    answer = _execute(order)
    with os.fdopen(answer_to, "w", encoding="utf-8") as out:
        out.write(json.dumps(answer) + "\n")
    return 0 if answer["outcome"] == "done" else 1


def _exit_with_parent() -> None:
    # The pipe ends when the gateway does, however it does: nobody would remove what comes later.
    os.read(0, 1)
    os._exit(1)


def _execute(order: dict[str, Any]) -> dict[str, str]:
    try:
        return {"outcome": _fetch(order)}
    except Exception as error:  # noqa: BLE001 - the process ends here, and its last word is what went wrong
        if _is_disk_full(error):
            return {"outcome": "full"}
        log = "".join(traceback.format_exception(error))[-_MAX_LOG_CHARS:]
        return {"outcome": "failed", "exception": type(error).__name__, "log": log}


def _is_disk_full(error: BaseException | None) -> bool:
    """Whether no space left is behind `error`, however MLflow wrapped it."""
    # Of some errors MLflow keeps the words alone.
    if f"[Errno {errno.ENOSPC}]" in str(error):
        return True
    while error is not None:
        if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
            return True
        error = error.__cause__ or error.__context__
    return False


def _fetch(order: dict[str, Any]) -> str:
    uri, folder, path = order["uri"], Path(order["folder"]), order.get("path")
    if path is not None:
        size = _remote_size(uri, path)
        if size is None:
            return "absent"
        if size > order["limit"]:
            return "large"
        uri = posixpath.join(uri, path)
    _download(uri, folder)
    return "done"


def _remote_size(uri: str, path: str) -> int | None:
    """Bytes of the file `path` at `uri`, None where the store lists none."""
    from mlflow.artifacts import list_artifacts  # noqa: PLC0415 - seconds of import, paid by this process alone

    parent, name = posixpath.split(path)
    entries = list_artifacts(artifact_uri=posixpath.join(uri, parent) if parent else uri)
    sizes = [
        entry.file_size or 0
        for entry in entries
        if posixpath.basename(entry.path) == name and not entry.is_dir
    ]
    return sizes[0] if sizes else None


def _download(uri: str, target: Path) -> None:
    """Bring `uri` to `target`, whatever name MLflow gives it on the way."""
    from mlflow.artifacts import download_artifacts  # noqa: PLC0415 - see _size

    raw = Path(tempfile.mkdtemp(dir=target.parent))
    try:
        found = Path(download_artifacts(artifact_uri=uri, dst_path=str(raw)))
        if not found.resolve().is_relative_to(raw.resolve()):
            raise RuntimeError("MLflow answered with a place that is not the one it was given")
        found.rename(target)
    finally:
        shutil.rmtree(raw, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
