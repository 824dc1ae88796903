"""Downloads files from a store that only MLflow's own code can read, in a process of its own.

Usage: `python -P -m gateway.artifacts.stores.mlflow_child`. It writes the line READY to standard output as
soon as other processes of its user cannot read its memory. Only then it gets one JSON object on one line of
standard input, which has secrets: `"environment"` has variables, `"files"` the texts of files by the variable
that names each, and `"scratch"` an empty folder that is its home and its folder for temporary files. The
links in it lead to `"links"`, folders by name.

`"uri"` and `"folder"` download every file at `uri` to `folder`, which must not exist. With `"path"` and
`"limit"` it downloads that one file as `folder` itself. The parent keeps standard input open as long as it
waits for the result. The result is one JSON object on one line of standard output:
`{"outcome": "done" | "absent" | "large" | "full"}`, where `full` means that the disk is full, or
`{"outcome": "failed", "exception": …, "log": …}`. The exit code is 0 for `done`, otherwise 1.
"""

from __future__ import annotations

import errno
import json
import os
import posixpath
import shutil
import signal
import sys
import tempfile
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.system.environment import prepare_for_secrets
from gateway.system.memory_files import MemoryFile
from workers.wall.confine import confine
from workers.wall.policy import WallPolicy

if TYPE_CHECKING:
    from collections.abc import Iterator

READY = b"ready\n"
_GOOGLE_CREDENTIALS = "GOOGLE_APPLICATION_CREDENTIALS"
_TOKEN_VARIABLES = ("AWS_WEB_IDENTITY_TOKEN_FILE", "AZURE_FEDERATED_TOKEN_FILE")
_READ_VARIABLES = (  # files and folders that clients of stores find by them
    "AZURE_CONFIG_DIR",
    "CLOUDSDK_CONFIG",
    _GOOGLE_CREDENTIALS,
    *_TOKEN_VARIABLES,
    "AZURE_CLIENT_CERTIFICATE_PATH",
    "NETRC",
    "KRB5_CONFIG",
    "KRB5CCNAME",
    "HADOOP_CONF_DIR",
    "HADOOP_HOME",
    "ARROW_LIBHDFS_DIR",
    "MLFLOW_TRACKING_CLIENT_CERT_PATH",
)
_MAX_LOG_CHARS = 8000


def main() -> int:
    """Read the request, execute it and write the result; return the exit code."""
    prepare_for_secrets()
    # Libraries print to standard output, which must contain only the result: send theirs to stderr.
    result_fd = os.dup(1)
    os.dup2(2, 1)
    os.write(result_fd, READY)
    request: dict[str, Any] = json.loads(sys.stdin.readline())
    kept_open = _enter_environment(request)
    _confine(request)
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    result = _execute(request)
    with os.fdopen(result_fd, "w", encoding="utf-8") as out:
        out.write(json.dumps(result) + "\n")
    del kept_open
    return 0 if result["outcome"] == "done" else 1


def _enter_environment(request: dict[str, Any]) -> list[MemoryFile]:
    """Set the variables, which `/proc` does not show, and make the home folder; return the open files."""
    scratch = request["scratch"]
    os.environ.clear()
    os.environ.update(request["environment"])
    os.environ.update({"HOME": scratch, "TMPDIR": scratch})
    tempfile.tempdir = scratch
    files = {name: MemoryFile(content.encode()) for name, content in request["files"].items()}
    os.environ.update({name: file.path for name, file in files.items()})
    for name, folder in request["links"].items():
        Path(scratch, name).symlink_to(folder)
    return list(files.values())


def _confine(request: dict[str, Any]) -> None:
    """Leave this process libraries and the user's folders to read, and two folders to write."""
    write = [request["scratch"], str(Path(request["folder"]).parent)]
    policy = WallPolicy(request["wall"], readable=tuple(request["readable"]))
    confine(policy, read=[*request["links"].values(), *_named_paths(request["environment"])], write=write)


def _named_paths(environment: dict[str, str]) -> Iterator[str]:
    """Yield what variables name, and the folders of tokens, which are replaced while a download runs."""
    for name in _READ_VARIABLES:
        path = Path(environment.get(name, "").removeprefix("FILE:").removeprefix("DIR:"))
        if path.is_absolute() and path.exists():
            yield str(path.parent if name in _TOKEN_VARIABLES else path)
    with suppress(OSError, ValueError, AttributeError, TypeError):
        account = json.loads(Path(environment.get(_GOOGLE_CREDENTIALS, "")).read_text(encoding="utf-8"))
        source = account.get("credential_source", {}).get("file")
        if source and Path(source).exists():
            yield str(Path(source).parent)


def _exit_with_parent() -> None:
    # The socket closes when the gateway ends in any way; files written after that would never be removed.
    os.read(0, 1)
    if os.getpgrp() == os.getpid():  # with the programs that MLflow has started
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _execute(request: dict[str, Any]) -> dict[str, str]:
    try:
        return {"outcome": _fetch(request)}
    except Exception as error:  # noqa: BLE001 - the process ends here and reports the error to its parent
        if _is_disk_full(error):
            return {"outcome": "full"}
        log = "".join(traceback.format_exception(error))[-_MAX_LOG_CHARS:]
        return {"outcome": "failed", "exception": type(error).__name__, "log": log}


def _is_disk_full(error: BaseException | None) -> bool:
    """Return whether a full disk caused `error`, even if MLflow wrapped it."""
    # Of some errors MLflow keeps only the text.
    if f"[Errno {errno.ENOSPC}]" in str(error):
        return True
    while error is not None:
        if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
            return True
        error = error.__cause__ or error.__context__
    return False


def _fetch(request: dict[str, Any]) -> str:
    uri, folder, path = request["uri"], Path(request["folder"]), request.get("path")
    if path is not None:
        size = _remote_size(uri, path)
        if size is None:
            return "absent"
        if size > request["limit"]:
            return "large"
        uri = posixpath.join(uri, path)
    _download(uri, folder)
    return "done"


def _remote_size(uri: str, path: str) -> int | None:
    """Return the bytes of the file `path` at `uri`, or None if the store does not list it."""
    from mlflow.artifacts import list_artifacts  # noqa: PLC0415 - the import takes seconds; most of this module needs none

    parent, name = posixpath.split(path)
    entries = list_artifacts(artifact_uri=posixpath.join(uri, parent) if parent else uri)
    sizes = [
        entry.file_size or 0
        for entry in entries
        if posixpath.basename(entry.path) == name and not entry.is_dir
    ]
    return sizes[0] if sizes else None


def _download(uri: str, target: Path) -> None:
    """Download `uri` to `target`, whatever name MLflow gives it."""
    from mlflow.artifacts import download_artifacts  # noqa: PLC0415 - see _remote_size

    raw = Path(tempfile.mkdtemp(dir=target.parent))
    try:
        found = Path(download_artifacts(artifact_uri=uri, dst_path=str(raw)))
        if not found.resolve().is_relative_to(raw.resolve()):
            raise RuntimeError("MLflow returned a path outside the folder that it was given")
        found.rename(target)
    finally:
        shutil.rmtree(raw, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
