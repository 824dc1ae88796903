"""Build the wheel, look whether it holds every file of the packages, and start its demo as a user would.

usage: python tools/wheel.py [--try] [--out dist]

With `--try` the demo runs from the wheel alone: `uvx --from WHEEL model-invocation-endpoint demo` if uv is
beside this Python, else from an environment that pip makes. It must answer
with the page, a prediction and a refusal.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
NAME = "model-invocation-endpoint"
LOCK = ROOT / "requirements.lock"
START_SECONDS = 300.0  # about 30 s on an idle machine: it trains seven models
SKIPPED = {"__pycache__"}
WINE = {"alcohol": 13.2, "flavanoids": 2.8, "color_intensity": 4.4, "proline": 1050}


class WheelError(Exception):
    """The wheel is not as it should be; the text says how."""


def main() -> int:
    """Return 0 if the wheel is complete and, with `--try`, its demo answers and stops; else 1."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", default=str(ROOT / "dist"), help="the wheel's folder")
    parser.add_argument("--try", dest="start", action="store_true", help="start the demo from the wheel")
    options = parser.parse_args()
    try:
        wheel = build(Path(options.out))
        if missing := missing_files(wheel):
            raise WheelError(f"{wheel.name} lacks {', '.join(sorted(missing))}")
        say(f"{wheel} has every file")
        if options.start:
            with tempfile.TemporaryDirectory(prefix="wheel-") as folder:
                try_demo(wheel, Path(folder))
    except WheelError as error:
        say(str(error))
        return 1
    return 0


def say(text: str) -> None:
    """Print one line of progress."""
    sys.stdout.write(f"wheel: {text}\n")
    sys.stdout.flush()


def build(out: Path) -> Path:
    """Return the wheel, built in `out` with the packages that are installed here."""
    quiet = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation", "--no-index"]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "wheel", *quiet, "--wheel-dir", folder, str(ROOT)]
        if subprocess.run(command, check=False).returncode:
            raise WheelError("it cannot be built")
        (made,) = Path(folder).iterdir()
        out.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy(made, out)).absolute()


def missing_files(wheel: Path) -> set[str]:
    """Return the files of the packages that the wheel lacks, also those that are not Python's."""
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    source = ROOT / "src"
    files = (path for package in ("gateway", "workers") for path in (source / package).rglob("*"))
    return {
        str(path.relative_to(source)) for path in files if path.is_file() and not SKIPPED & set(path.parts)
    } - held


def try_demo(wheel: Path, folder: Path) -> None:
    """Start the demo of the wheel in `folder`, use it, and stop it; raise WheelError if any of that fails."""
    command = [*launcher(wheel, folder), "demo", "--port", "0", "--mlflow-port", "0"]
    say(" ".join(command))
    with running(command, folder) as process:
        base = wait_until_ready(process)
        check_answers(base)
        process.send_signal(signal.SIGTERM)
        process.communicate()
    if process.returncode != 0:
        raise WheelError(f"the demo ended with status {process.returncode} after SIGTERM")
    say("the demo from the wheel answered and stopped")


def launcher(wheel: Path, folder: Path) -> list[str]:
    """Return the command that runs the wheel's script in an environment that has nothing of this checkout."""
    uvx = Path(sys.executable).parent / "uvx"
    if uvx.exists():
        options = ["--isolated", "--no-build", "--python", sys.executable, "--constraints", str(LOCK)]
        return [str(uvx), *options, "--from", str(wheel), NAME]
    python = folder / "venv" / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for step in (
        [sys.executable, "-m", "venv", str(folder / "venv")],
        [*pip, "--only-binary", ":all:", "--require-hashes", "--requirement", str(LOCK)],
        [*pip, "--no-deps", str(wheel)],
    ):
        if subprocess.run(step, check=False).returncode:
            raise WheelError(f"this failed: {' '.join(step)}")
    return [str(python.parent / NAME)]


@contextmanager
def running(command: list[str], folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a command in `folder` without this user's settings; end it after START_SECONDS at the latest."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GATEWAY_", "MLFLOW_"))}
    kept.pop("PYTHONPATH", None)
    with subprocess.Popen(
        command, cwd=folder, env=kept, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        timer = threading.Timer(START_SECONDS, process.terminate)
        timer.start()
        try:
            yield process
        finally:
            timer.cancel()
            if process.poll() is None:
                process.terminate()


def wait_until_ready(process: subprocess.Popen[str]) -> str:
    """Return the gateway's address once the demo has printed all of its start."""
    printed = ""
    for line in process.stdout or ():
        printed += line
        if line.startswith("To stop: "):
            break
    found = re.search(r"Open (http://[^/\s]+)/", printed)
    if found is None:
        raise WheelError(f"the demo did not start:\n{printed[-3000:]}")
    return found[1]


def check_answers(base: str) -> None:
    """Raise WheelError unless the page, a prediction and a refused input are as they should be."""
    for path in ("/", "/docs"):
        status, text = ask(f"{base}{path}", accept="text/html")
        if status != 200 or "<html" not in text:
            raise WheelError(f"GET {path} answered {status}: {text[:500]}")
    url = f"{base}/model/wine/@champion/invocation"
    for row, wanted, part in ((WINE, 200, '"predictions"'), ({**WINE, "alcohol": "strong"}, 400, '"reason"')):
        status, text = ask(url, {"dataframe_records": [row]})
        if status != wanted or part not in text:
            raise WheelError(f"{row} was answered {status}: {text[:500]}")


def ask(url: str, body: Any = None, *, accept: str = "application/json") -> tuple[int, str]:
    """Return the status and the text of an answer."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Accept": accept, "Content-Type": "application/json"}
    request = urllib.request.Request(url, data, headers)  # noqa: S310 - the demo's own address, on loopback
    try:
        with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310 - as above
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


if __name__ == "__main__":
    sys.exit(main())
