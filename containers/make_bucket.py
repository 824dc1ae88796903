"""Wait for an S3 store, and create the bucket S3_BUCKET if it does not exist.

The address of the store and its keys are read from the environment, under the names that MLflow reads.
"""

import os
import sys
import time
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

SECONDS = 60
MISSING = {"404", "NoSuchBucket"}
OURS = {"BucketAlreadyOwnedByYou"}


def main() -> None:
    """Create the bucket; retry for a minute, because a store that is starting may also reject valid keys."""
    bucket = os.environ["S3_BUCKET"]
    config = Config(connect_timeout=3, read_timeout=10, retries={"total_max_attempts": 1})
    store = boto3.client("s3", endpoint_url=os.environ.get("MLFLOW_S3_ENDPOINT_URL"), config=config)
    until = time.monotonic() + SECONDS
    while True:
        try:
            created = _ensure(store, bucket)
        except (BotoCoreError, ClientError) as error:
            if time.monotonic() > until:
                sys.exit(f"bucket {bucket}: {error}")
            time.sleep(1)
        else:
            sys.stdout.write(f"bucket {bucket}: {'created' if created else 'exists'}\n")
            return


def _ensure(store: Any, bucket: str) -> bool:
    try:
        store.head_bucket(Bucket=bucket)
    except ClientError as error:
        if error.response["Error"]["Code"] not in MISSING:
            raise
    else:
        return False
    region = store.meta.region_name
    where = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    try:
        store.create_bucket(Bucket=bucket, **where)
    except ClientError as error:
        if error.response["Error"]["Code"] not in OURS:
            raise
        return False
    return True


if __name__ == "__main__":
    main()
