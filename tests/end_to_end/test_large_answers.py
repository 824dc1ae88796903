"""Proves that large answers arrive unchanged, stall no other request, and are counted until they are read."""

from __future__ import annotations

import asyncio
import hashlib
import zlib
from time import thread_time
from typing import TYPE_CHECKING, Any

import brotli
import pytest

from gateway.api.body.decompression import zstd
from gateway.api.keys import COMPONENTS
from tests.support.figures import note
from tests.support.gateways import gateway_at
from tests.support.http_clients import post_commands
from tests.support.models import body
from tests.support.waiting import until
from tests.workers.pool.test_frame_bounds import ATTACKS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.gateways import Gateway
    from tests.support.mlflow_server import MlflowServer

_MIB = 2**20
_COMMANDS = "/model/api-commands/1/invocation"
_STREAMS = "/model/api-streams/1/invocation"
_HEADERS = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
_MAX_TURN_SECONDS = 0.3
"""CPU time of one turn of the loop, which the client of the test shares. It takes seconds to join 200 MiB."""


def filled(size: int) -> bytes:
    """Return the text of the command `fill SIZE`."""
    return b"".join(b"%09d " % position for position in range(0, size, 10))


class Turns:
    """The number of turns of the event loop, and the CPU seconds of the longest."""

    def __init__(self) -> None:
        self.count = 0
        self.longest = 0.0

    async def run(self) -> None:
        """Count until cancelled."""
        before = thread_time()
        while True:
            await asyncio.sleep(0)
            now = thread_time()
            self.count, self.longest, before = self.count + 1, max(self.longest, now - before), now


@pytest.mark.slow
@pytest.mark.serial
async def test_200_mib_through_the_whole_gateway(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> None:
    """Every byte arrives, and no turn of the loop is long, whether it is received or sent.

    Measures the CPU time of the loop's turns.
    """
    size, turns = 200 * _MIB, Turns()
    async with gateway_at(mlflow_server.url, tmp_path) as gateway:
        await post_commands(gateway, "x")
        counting = asyncio.create_task(turns.run())
        digest, length = hashlib.sha256(), 0
        async with gateway.post(_COMMANDS, data=body(do=[f"fill {size}"]), headers=_HEADERS) as response:
            assert response.status == 200
            async for part in response.content.iter_any():
                length += len(part)
                digest.update(part)
            assert response.content_length == length
        counting.cancel()
        note("200 MiB answer", longest_turn=turns.longest, turns=turns.count)
        assert turns.longest < _MAX_TURN_SECONDS
        expected = hashlib.sha256(b'{"predictions":["')
        expected.update(filled(size))
        expected.update(b'"],"model":{"name":"api-commands","version":"1","source":"registry"}}')
        assert digest.hexdigest() == expected.hexdigest()
        await until(lambda: gateway.app[COMPONENTS].body_memory.answer_bytes == 0)


DECOMPRESS: dict[str, Any] = {
    "gzip": lambda data: zlib.decompress(data, 16 + zlib.MAX_WBITS),
    "deflate": zlib.decompress,
    "br": brotli.decompress,
    "zstd": zstd.decompress,
}


async def test_a_large_answer_in_each_form(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> None:
    """As JSON, compressed, as Open Inference with and without binary data, and as a chunk of a stream."""
    size = 3 * _MIB
    text = filled(size)
    async with gateway_at(mlflow_server.url, tmp_path) as gateway:
        for encoding, decompress in DECOMPRESS.items():
            headers = {**_HEADERS, "Accept-Encoding": encoding}
            status, found, data = await raw(gateway, _COMMANDS, body(do=[f"fill {size}"]), headers)
            assert (status, found["Content-Encoding"]) == (200, encoding)
            assert "Accept-Encoding" in found["Vary"]
            assert len(data) < size // 2
            assert decompress(data).startswith(b'{"predictions":["' + text + b'"],"model":{')
        inputs = b'{"inputs":[{"name":"do","shape":[1],"datatype":"BYTES","data":["fill %d"]}]' % size
        status, found, data = await raw(gateway, "/v2/models/api-commands/versions/1/infer", inputs + b"}")
        assert status == 200
        assert data.startswith(b'{"model_name":"api-commands","model_version":"1",')
        assert text in data
        assert int(found["Content-Length"]) == len(data)
        request = b'{"dataframe_split":{"columns":["do"],"data":[["fill_once %d"]]}}' % size
        status, _, data = await raw(gateway, "/model/api-streams/1/invocation?stream=true", request)
        assert (status, data) == (200, b'data: ["' + text + b'"]\n\ndata: [DONE]\n\n')
        await until(lambda: gateway.app[COMPONENTS].body_memory.answer_bytes == 0)


async def test_answers_that_no_client_reads(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> None:
    """A second large answer waits while the first is not read, and requests are still taken.

    Once that client has left, the second is answered, and nothing is counted any more.
    """
    size = 24 * _MIB
    values = {"GATEWAY_MAX_BODIES_BYTES": str(30 * _MIB), "GATEWAY_MAX_BODY_BYTES": str(_MIB)}
    async with gateway_at(mlflow_server.url, tmp_path, **values) as gateway:
        memory = gateway.app[COMPONENTS].body_memory
        for path in (_COMMANDS, _STREAMS):
            await post_commands(gateway, "x", path=path)
        request = body(do=[f"fill {size}"])
        async with gateway.post(_COMMANDS, data=request, headers=_HEADERS):
            assert memory.answer_bytes > 2 * _MIB
            second = asyncio.create_task(raw(gateway, _COMMANDS, request))
            await until(lambda: memory.answers_wait)
            status, _, answer = await post_commands(gateway, "say " + "x" * 100_000, path=_STREAMS)
            assert (status, answer["predictions"]) == (200, ["x" * 100_000])
        status, _, data = await second
        assert (status, filled(size) in data) == (200, True)
        await until(lambda: memory.answer_bytes == 0)


async def test_an_attack_is_the_fault_of_its_model(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> None:
    """A frame of 120 MB gets a 500 that says why, at once; other models do not notice; a metric counts it."""
    attack, reason = ATTACKS["a failure of 120 MB"]
    async with gateway_at(mlflow_server.url, tmp_path) as gateway:
        await post_commands(gateway, "x")
        status, _, problem = await post_commands(gateway, attack)
        assert (status, problem["error_code"]) == (500, "MODEL_ERROR")
        assert reason in problem["message"]
        assert (await post_commands(gateway, "x"))[0] == 200
        async with gateway.get("/metrics") as page:
            text = await page.text()
        labels = 'model="api-commands",reason="protocol",version="1"'
        assert f"gateway_worker_exits_total{{{labels}}} 1.0" in text


async def test_an_answer_beyond_the_setting(
    mlflow_server: MlflowServer, registered: list[str], tmp_path: Path
) -> None:
    """The client gets 406 with the limit, and the worker lives."""
    async with gateway_at(mlflow_server.url, tmp_path, GATEWAY_MAX_ANSWER_BYTES="2000000") as gateway:
        (pid,) = (await post_commands(gateway, "x"))[2]["predictions"]
        status, _, problem = await post_commands(gateway, "fill 2000000")
        assert status == 406
        assert problem["message"] == "The model's answer is larger than 2000000 bytes."
        assert (await post_commands(gateway, "x"))[2]["predictions"] == [pid]


async def raw(
    gateway: Gateway, path: str, data: bytes, headers: dict[str, str] | None = None
) -> tuple[int, Any, bytes]:
    """Send a request; return the status, the headers and the bytes of the body as they came."""
    session = gateway.session
    async with session.post(
        gateway.make_url(path), data=data, headers=headers or _HEADERS, auto_decompress=False
    ) as response:
        return response.status, response.headers, await response.read()
