"""Proves that the S3 client uses AWS' files as they were at the start, and none that a model has made."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from gateway.artifacts.stores.s3 import S3FileStore
from gateway.errors import BadUpstreamResponse
from gateway.settings import load
from tests.support import ordinary_user, s3_bucket

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.support.s3_bucket import Bucket

URI = "s3://somewhere/model"
FOUND = {"files": ["MLmodel", "data.bin"]}
VARIABLES = {"AWS_EC2_METADATA_DISABLED": "true", "AWS_DEFAULT_REGION": "us-east-1"}
KEYS = {"AWS_ACCESS_KEY_ID": "AKIDSETTINGS", "AWS_SECRET_ACCESS_KEY": "b"}


@pytest.fixture
async def bucket() -> AsyncIterator[Bucket]:
    """A server that lists files for any credentials."""
    async with s3_bucket.opened() as served:
        yield served


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty home folder."""
    (tmp_path / "home" / ".aws").mkdir(parents=True)
    return tmp_path / "home"


def credential_process(folder: Path, key: str) -> str:
    """Return a profile whose command gives credentials with this key, and leaves the file `<key>.ran`."""
    program = folder / f"{key}.py"
    answer = json.dumps({"Version": 1, "AccessKeyId": key, "SecretAccessKey": "s"})
    program.write_text(f"open({str(folder / f'{key}.ran')!r}, 'w'); print({answer!r})")
    return f"[default]\ncredential_process = {sys.executable} {program}\n"


@asynccontextmanager
async def started(bucket: Bucket, home: Path, **variables: str) -> AsyncIterator[Callable[[], Any]]:
    """Run a program that has read its settings; yield the function that has it list files."""
    temporary = home.parent / "temporary"
    temporary.mkdir()
    env = VARIABLES | variables | {"PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(temporary)}
    with ordinary_user.start("lists_s3", env=env | {"MLFLOW_S3_ENDPOINT_URL": bucket.url}) as process:
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == "started\n"

        async def result() -> Any:
            output, _ = await asyncio.to_thread(process.communicate, "\n")
            return json.loads(output)

        yield result


async def test_a_planted_command_is_not_executed(bucket: Bucket, home: Path) -> None:
    """Neither of the files of AWS' clients is read if it did not exist at the start; nor is `~/.boto`."""
    async with started(bucket, home) as result:
        for name in ("config", "credentials"):
            (home / ".aws" / name).write_text(credential_process(home, "AKIDPLANTED"))
        (home / ".boto").write_text(
            "[Credentials]\naws_access_key_id = AKIDBOTO\naws_secret_access_key = s\n"
        )
        error = (await result())["error"]
    assert error.startswith("BadUpstreamResponse: There are no usable credentials for the S3 store")
    assert not (home / "AKIDPLANTED.ran").exists()
    assert bucket.authorizations == []


async def test_the_file_of_the_start_is_used(bucket: Bucket, home: Path) -> None:
    """Even if it is replaced later: its command is the operator's, the other one a model's."""
    (home / ".aws" / "config").write_text(credential_process(home, "AKIDOPERATOR"))
    async with started(bucket, home) as result:
        (home / ".aws" / "config").write_text(credential_process(home, "AKIDPLANTED"))
        assert await result() == FOUND
    assert "Credential=AKIDOPERATOR/" in bucket.authorizations[0]
    assert not (home / "AKIDPLANTED.ran").exists()


async def test_named_files_and_the_profile(bucket: Bucket, home: Path) -> None:
    """AWS_SHARED_CREDENTIALS_FILE and AWS_PROFILE choose the keys; the file is read at the start too."""
    file = home / "keys"
    file.write_text("[blue]\naws_access_key_id = AKIDBLUE\naws_secret_access_key = s\n")
    async with started(bucket, home, AWS_SHARED_CREDENTIALS_FILE=str(file), AWS_PROFILE="blue") as result:
        file.unlink()
        assert await result() == FOUND
    assert "Credential=AKIDBLUE/" in bucket.authorizations[0]


async def test_a_planted_description_of_s3_is_not_read(bucket: Bucket, home: Path) -> None:
    """AWS' client prefers `~/.aws/models` to its own data; there a model could name another server."""
    async with started(bucket, home, **KEYS) as result:
        for name in ("s3/2006-03-01/service-2.json", "endpoints.json"):
            file = home / ".aws" / "models" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("{}")
        assert await result() == FOUND
    assert "Credential=AKIDSETTINGS/" in bucket.authorizations[0]


SSO = "sso_start_url = https://x\nsso_region = us-east-1\nsso_account_id = 1\nsso_role_name = r"


@pytest.mark.parametrize(
    ("config", "variables", "text"),
    [
        ("[default]\ncredential_process = {python} -c exit(3)\n", {}, "could not be obtained"),
        ("[default]\ncredential_process = /nowhere/program\n", {}, "could not be used"),
        ("[default]\ncredential_process = {python} -c print(5)\n", {}, "could not be used"),
        ("[default]\ncredential_process = {python} -c print()\n", {}, "could not be used"),
        ("[default]\naws_access_key_id = a\n", {}, "no usable credentials"),
        ("[default]\n" + SSO, {}, "could not be obtained"),
        (
            "[default]\nrole_arn = arn:aws:iam::1:role/x\nsource_profile = absent\n",
            {},
            "configuration .* wrong",
        ),
        (
            "[default]\nrole_arn = arn:aws:iam::1:role/x\ncredential_source = No\n",
            {},
            "configuration .* wrong",
        ),
        ("not an INI file", {}, "configuration .* wrong"),
        ("[profile blue]\n", {"AWS_PROFILE": "absent"}, "configuration .* wrong"),
        ("[default]\n", KEYS | {"AWS_DEFAULT_REGION": "not a region!"}, "region is missing or wrong"),
        ("[default]\n", KEYS | {"MLFLOW_S3_ENDPOINT_URL": "nowhere"}, "could not be used"),
    ],
)
async def test_each_way_to_have_no_credentials_is_an_upstream_error(
    config: str,
    variables: dict[str, str],
    text: str,
    *,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The client learns what to check, and the log has the cause; it is never an internal error."""
    file = home / "config"
    file.write_text(config.format(python=sys.executable))
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    store = S3FileStore(load(VARIABLES | {"AWS_CONFIG_FILE": str(file)} | variables).s3, max_attempts=1)
    try:
        with pytest.raises(BadUpstreamResponse, match=text) as caught:
            await store.list_files(URI)
    finally:
        await store.close()
    assert str(home) not in str(caught.value)
    if "no usable" not in text and "region" not in text:
        (record,) = (
            record for record in caplog.records if record.name == "gateway.artifacts.stores.s3_errors"
        )
        assert vars(record)["event"] == "s3_unusable"


async def test_a_token_file_that_does_not_exist(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials by a web identity, whose token is a file that is read whenever it is needed."""
    named = {"AWS_WEB_IDENTITY_TOKEN_FILE": str(home / "absent"), "AWS_ROLE_ARN": "arn:aws:iam::1:role/x"}
    for name, value in (VARIABLES | named).items():
        monkeypatch.setenv(name, value)
    store = S3FileStore(load(VARIABLES | {"HOME": str(home)}).s3, max_attempts=1)
    try:
        with pytest.raises(BadUpstreamResponse, match="could not be used"):
            await store.list_files(URI)
    finally:
        await store.close()
