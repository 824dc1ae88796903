"""Download a model by MLflow's own code, as the gateway does.

Standard input has one JSON object on a line, with the folder, the URI and the secrets. It prints the outcome.
"""

import asyncio
import json
import sys
from pathlib import Path

from gateway.artifacts.progress import DownloadProgress
from gateway.artifacts.stores.mlflow_subprocess import MlflowSubprocessStore
from gateway.settings.client_files import ClientFiles
from gateway.system.environment import disable_process_inspection


async def main() -> None:
    """Download, and print the names of the files."""
    request = json.loads(sys.stdin.readline())
    files = ClientFiles(contents={name: text.encode() for name, text in request["files"].items()})
    store = MlflowSubprocessStore(request["environment"], files=files)
    folder = Path(request["folder"]) / "files"
    folder.mkdir()
    model = await store.find(request["uri"])
    found = await model.fetch(folder, DownloadProgress("m", total=None, limit=10**9))
    print(json.dumps([file.path for file in found]), flush=True)


if __name__ == "__main__":
    disable_process_inspection()
    asyncio.run(main())
