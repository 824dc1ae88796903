"""What KServe's REST client does with the gateway, in JSON and in binary."""

from __future__ import annotations

from typing import Any

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

from tests.clients.checks import check, main

PAIRS = np.array([[0.5, 2.5], [4.5, -1.0]], dtype=np.float32)


class Client:
    """KServe's client and the address it is to ask."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.rest = InferenceRESTClient(RESTConfig(protocol="v2", retries=0, timeout=60))

    async def infer(self, model: str, *inputs: InferInput, **more: Any) -> Any:
        request = InferRequest(model, list(inputs), **more)
        return await self.rest.infer(self.url, request, model_name=model)


def given(name: str, datatype: str, values: Any, *, binary: bool) -> InferInput:
    made = InferInput(name, list(values.shape), datatype)
    made.set_data_from_numpy(values, binary_data=binary)
    return made


@check
async def health(client: Client) -> None:
    assert await client.rest.is_server_live(client.url)
    assert await client.rest.is_server_ready(client.url)


@check
async def model_ready(client: Client) -> None:
    assert await client.rest.is_model_ready(client.url, "v2-pairs")
    assert not await client.rest.is_model_ready(client.url, "unknown")


@check
async def in_json(client: Client) -> None:
    answer = await client.infer("v2-pairs", given("input-0", "FP32", PAIRS, binary=False), request_id="7")
    assert answer.id == "7"
    np.testing.assert_array_equal(answer.outputs[0].as_numpy(), PAIRS)


@check
async def in_binary(client: Client) -> None:
    answer = await client.infer("v2-pairs", given("input-0", "FP32", PAIRS, binary=True))
    np.testing.assert_array_equal(answer.outputs[0].as_numpy(), PAIRS)


@check
async def out_in_binary(client: Client) -> None:
    wanted = [RequestedOutput("output-0", parameters={"binary_data": True})]
    made = given("input-0", "FP32", PAIRS, binary=True)
    answer = await client.infer("v2-pairs", made, request_outputs=wanted)
    np.testing.assert_array_equal(answer.outputs[0].as_numpy(), PAIRS)


@check
async def a_table(client: Client) -> None:
    columns = {"a": np.array([1.0, 3.0]), "b": np.array([2.0, 4.0])}
    inputs = [given(name, "FP64", values, binary=name == "a") for name, values in columns.items()]
    answer = await client.infer("api-tens", *inputs)
    assert answer.outputs[0].as_numpy().ravel().tolist() == [30.0, 70.0]


@check
async def parameters(client: Client) -> None:
    made = given("x", "FP64", np.array([1.0]), binary=False)
    answer = await client.infer("v2-params", made, parameters={"limit": 9})
    assert {output.name: output.as_numpy().ravel().tolist() for output in answer.outputs}["limit"] == [9]


@check
async def errors(client: Client) -> None:
    said = ""
    try:
        await client.infer("unknown", given("x", "FP64", np.array([1.0]), binary=False))
    except httpx.HTTPStatusError as error:
        said = f"{error.response.status_code} {error}"
    assert said.startswith("404"), said
    assert "unknown" in said


if __name__ == "__main__":
    main(Client)
