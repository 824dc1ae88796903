"""Read the settings as a gateway does at its start; when a line comes on standard input, list `s3:` files.

Standard output has the line `started`, then a JSON object: the names of the files, or the error.
"""

import asyncio
import json
import os
import sys

from gateway import settings
from gateway.artifacts.stores.s3 import S3FileStore
from gateway.errors import GatewayError


async def main() -> None:
    """List the files of `s3://somewhere/model`."""
    chosen = settings.load(os.environ)
    store = S3FileStore(chosen.s3, max_attempts=1)
    print("started", flush=True)
    sys.stdin.readline()
    try:
        found: dict[str, object] = {
            "files": [file.path for file in await store.list_files("s3://somewhere/model")]
        }
    except GatewayError as error:
        found = {"error": f"{type(error).__name__}: {error}"}
    finally:
        await store.close()
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
