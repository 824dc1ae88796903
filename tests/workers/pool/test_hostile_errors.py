"""Proves that no error of a model ends its process, whatever it is: in predictions, streams and loads."""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import TYPE_CHECKING

import orjson
import pytest

from tests.support import models
from tests.support.hostile_errors import ERRORS, LOAD_ERRORS, REFUSALS, Raises, RaisesAtLoad
from tests.workers.conftest import Files, key, load
from workers.errors import InvalidInput, ModelError, ModelLoadError, NotAcceptable, UnsupportedMediaType
from workers.protocol.messages import Job

if TYPE_CHECKING:
    from pathlib import Path

    from tests.workers.pool.calls import Opened

RAISES = key("raises")
WANTED: dict[str, type[Exception]] = {
    **dict.fromkeys(ERRORS, ModelError),
    **dict.fromkeys(REFUSALS, InvalidInput),
    "type": UnsupportedMediaType,
    "answer": NotAcceptable,
}


def named(error: str) -> Job:
    """Return a job on which the model raises this error."""
    return Job(models.body(do=[error]))


@pytest.mark.parametrize(
    "wanted", [WANTED, {f"encode {name}": ModelError for name in ERRORS}], ids=["predict", "encode"]
)
async def test_no_error_ends_the_process(
    opened: Opened, tmp_path: Path, wanted: dict[str, type[Exception]]
) -> None:
    """Each request gets its error, the requests beside it their answers, all from one process."""
    folder = models.save(tmp_path / "m", Raises(), signature=models.COMMANDS)
    names = ["none", *(name for each in wanted for name in (each, "none"))]
    async with opened() as pool:
        await load(pool, Files(RAISES, folder))
        replies = await asyncio.gather(
            *(pool.predict(RAISES, named(name)) for name in names), return_exceptions=True
        )
        bodies = {reply.body for reply in replies if not isinstance(reply, BaseException)}
        assert len(bodies) == 1
        errors = dict(zip(names, replies, strict=True))
        assert {name: type(error) for name, error in errors.items() if name != "none"} == wanted


async def test_no_error_of_a_stream_ends_the_process(opened: Opened, tmp_path: Path) -> None:
    """The stream fails after its first chunk, and the next comes from the same process."""
    folder = models.save(tmp_path / "m", Raises(), signature=models.COMMANDS)
    pids = set()
    async with opened() as pool:
        await load(pool, Files(RAISES, folder))
        for name, wanted in WANTED.items():
            with closing(await pool.stream(RAISES, named(name))) as stream:
                pids.add(orjson.loads(await anext(stream)))
                with pytest.raises(wanted):
                    await anext(stream)
        assert len(pids) == 1


@pytest.mark.parametrize("name", ["exit", "str-exits", "nameless", "int-column", *LOAD_ERRORS])
async def test_a_load_that_cannot_be_described(opened: Opened, tmp_path: Path, name: str) -> None:
    """The load fails with the reason, and not with a process that ended."""
    folder = models.save(tmp_path / "m", RaisesAtLoad(name))
    async with opened() as pool:
        with pytest.raises(ModelLoadError, match=r"Loading the model raised|needs the Python package"):
            await load(pool, Files(RAISES, folder))
