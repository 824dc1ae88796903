"""What MLServer's own codecs write is read by the gateway, and what the gateway writes they read."""

from __future__ import annotations

import datetime
from typing import Any

import httpx
import numpy as np
import pandas as pd
from mlserver import types
from mlserver.codecs import (
    Base64Codec,
    DatetimeCodec,
    NumpyCodec,
    NumpyRequestCodec,
    PandasCodec,
    StringCodec,
    StringRequestCodec,
)

from tests.clients.checks import check, main

TABLE = pd.DataFrame(
    {
        "open": [True, False],
        "small": np.array([-(2**31), 5], dtype=np.int32),
        "count": [2**63 - 1, -1],
        "thin": np.array([0.5, np.nan], dtype=np.float32),
        "size": [0.1, np.nan],
        "label": ["ö", ""],
    }
)


def infer(client: httpx.Client, model: str, request: types.InferenceRequest) -> types.InferenceResponse:
    answer = client.post(f"/v2/models/{model}/infer", json=request.model_dump(exclude_none=True))
    assert answer.status_code == 200, answer.text
    return types.InferenceResponse.model_validate_json(answer.content)


def output(answer: types.InferenceResponse, name: str) -> Any:
    return next(made for made in answer.outputs if made.name == name)


def table(*more: types.RequestInput) -> types.InferenceRequest:
    request = PandasCodec.encode_request(TABLE, use_bytes=False)
    request.inputs.extend(more)
    return request


@check
def frame(client: Any) -> None:
    answer = infer(client, "v2-table", table())
    assert answer.model_version == "1"
    decoded = PandasCodec.decode_response(answer)
    for name in TABLE.columns:
        assert list(decoded[name].fillna(0)) == list(TABLE[name].fillna(0)), name
    for name in ("open", "small", "count", "thin", "size"):
        assert decoded[name].dtype == TABLE[name].dtype, name


@check
def array(client: Any) -> None:
    values = np.array([[0.5, 2.5], [np.nan, -1.0]], dtype=np.float32)
    answer = infer(client, "v2-pairs", NumpyRequestCodec.encode_request(values))
    np.testing.assert_array_equal(NumpyRequestCodec.decode_response(answer), values)


@check
def array_without_content_type(client: Any) -> None:
    values = np.array([[0.5, 2.5]])
    request = types.InferenceRequest(
        inputs=[types.RequestInput(name="input-0", shape=[1, 2], datatype="FP64", data=[0.5, 2.5])]
    )
    np.testing.assert_array_equal(
        NumpyRequestCodec.decode_response(infer(client, "v2-pairs", request)), values
    )


@check
def list_as_one_column(client: Any) -> None:
    request = NumpyRequestCodec.encode_request(np.array([1.0, 3.0]))
    request.inputs[0].name = "x"
    assert output(infer(client, "v2-params", request), "limit").data.root == [3]


@check
def named_arrays(client: Any) -> None:
    request = types.InferenceRequest(
        inputs=[
            NumpyCodec.encode_input("ids", np.array([[1], [2]])),
            StringCodec.encode_input("words", ["a", "b"], use_bytes=False),
        ],
        parameters=types.Parameters(content_type="dict"),
    )
    answer = infer(client, "v2-named", request)
    assert answer.parameters is not None
    assert answer.parameters.content_type == "dict"
    assert NumpyCodec.decode_output(output(answer, "ids")).tolist() == [[1], [2]]
    assert StringCodec.decode_output(output(answer, "words")) == ["a", "b"]


@check
def texts(client: Any) -> None:
    request = StringRequestCodec.encode_request(["x", "x"], use_bytes=False)
    answer = infer(client, "api-commands", request)
    assert answer.outputs[0].datatype == "INT64", answer
    request.inputs[0].parameters = None
    assert infer(client, "api-commands", request).outputs[0].data == answer.outputs[0].data, answer


@check
def base64(client: Any) -> None:
    raw = Base64Codec.encode_input("raw", [b"\xff\x00", b"hi"], use_bytes=False)
    answer = infer(client, "v2-table", table(raw))
    assert Base64Codec.decode_output(output(answer, "raw")) == [b"\xff\x00", b"hi"]


@check
def datetimes(client: Any) -> None:
    moments = [datetime.datetime(2024, 1, 2, 3, 4, 5), datetime.datetime(1999, 1, 1)]  # noqa: DTZ001 - as the model has them
    answer = infer(client, "v2-table", table(DatetimeCodec.encode_input("since", moments, use_bytes=False)))
    assert DatetimeCodec.decode_output(output(answer, "since")) == moments


@check
def objects(client: Any) -> None:
    cells = pd.DataFrame({"cell": [{"k": [1, 2]}, {"k": None}]})
    more = PandasCodec.encode_request(cells, use_bytes=False).inputs
    answer = infer(client, "v2-table", table(*more))
    made = output(answer, "cell")
    assert made.parameters.content_type == "pd_json"
    assert PandasCodec.decode_response(types.InferenceResponse(model_name="m", outputs=[made]))[
        "cell"
    ].tolist() == [{"k": [1, 2]}, {"k": None}]


@check
def parameters(client: Any) -> None:
    request = PandasCodec.encode_request(pd.DataFrame({"x": [1.0]}))
    request.parameters = types.Parameters(content_type="pd", temperature=0.25)
    assert output(infer(client, "v2-params", request), "temperature").data.root == [0.25]


@check
def chosen_outputs(client: Any) -> None:
    request = table()
    request.outputs = [types.RequestOutput(name="count")]
    assert [made.name for made in infer(client, "v2-table", request).outputs] == ["count"]


@check
def metadata(client: Any) -> None:
    for model, datatypes in (("v2-table", 9), ("v2-pairs", 1), ("v2-named", 2)):
        described = types.MetadataModelResponse.model_validate(client.get(f"/v2/models/{model}").json())
        assert len(described.inputs or []) == datatypes
        assert all(tensor.parameters and tensor.parameters.content_type for tensor in described.inputs or [])
    types.MetadataServerResponse.model_validate(client.get("/v2").json())
    index = client.post("/v2/repository/index", json={"ready": True}).json()
    types.RepositoryIndexResponse.model_validate(index)


@check
def errors(client: Any) -> None:
    answer = client.post("/v2/models/v2-pairs/infer", json={"inputs": []})
    assert answer.status_code == 400
    assert types.InferenceErrorResponse.model_validate(answer.json()).error


if __name__ == "__main__":
    main(lambda url: httpx.Client(base_url=url, timeout=60.0))
