"""What Triton's HTTP client does with the gateway, in JSON and in binary."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import numpy as np
from tritonclient import http
from tritonclient.utils import InferenceServerException

from tests.clients.checks import check, main

PAIRS = np.array([[0.1, 2.5], [np.nan, -1.0]], dtype=np.float32)
TABLE: dict[str, tuple[str, Any]] = {
    "open": ("BOOL", np.array([True, False])),
    "small": ("INT32", np.array([-(2**31), 5], dtype=np.int32)),
    "count": ("INT64", np.array([2**63 - 1, -1])),
    "thin": ("FP32", np.array([0.1, np.nan], dtype=np.float32)),
    "size": ("FP64", np.array([0.1, 5e-324])),
    "label": ("BYTES", np.array(["ö", ""], dtype=object)),
}


def given(name: str, datatype: str, values: Any, *, binary: bool) -> Any:
    made = http.InferInput(name, list(values.shape), datatype)
    return made.set_data_from_numpy(values, binary_data=binary)


def table(*, binary: bool) -> list[Any]:
    return [given(name, datatype, values, binary=binary) for name, (datatype, values) in TABLE.items()]


def same_table(answer: Any) -> None:
    for name, (datatype, values) in TABLE.items():
        got = answer.as_numpy(name).ravel()
        if datatype == "BYTES":
            got = np.array([item.decode() if isinstance(item, bytes) else item for item in got], dtype=object)
        np.testing.assert_array_equal(got, values)


def refused(call: Any) -> str:
    try:
        call()
    except InferenceServerException as error:
        return f"{error.status()} {error.message()}"
    raise AssertionError("nothing was refused")


def wanted(names: list[str], *, binary: bool) -> list[Any]:
    return [http.InferRequestedOutput(name, binary_data=binary) for name in names]


@check
def health(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()


@check
def server(client: Any) -> None:
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]


@check
def metadata(client: Any) -> None:
    described = client.get_model_metadata("v2-pairs")
    assert described["inputs"][0]["name"] == "input-0"
    assert described["inputs"][0]["datatype"] == "FP32"
    assert described["outputs"][0]["shape"] == [-1, 2]
    assert client.get_model_metadata("api-sums", "2")["versions"] == ["2"]


@check
def model_ready(client: Any) -> None:
    assert client.is_model_ready("v2-pairs")
    assert client.is_model_ready("api-sums", "@champion")
    assert not client.is_model_ready("unknown")


@check
def load_and_index(client: Any) -> None:
    client.load_model("v2-pairs")
    states = {entry["name"]: entry["state"] for entry in client.get_model_repository_index()}
    assert states["v2-pairs"] == "READY"
    assert "api-tens" in states


@check
def unload(client: Any) -> None:
    client.load_model("v2-named")
    client.unload_model("v2-named")
    states = {entry["name"]: entry["state"] for entry in client.get_model_repository_index()}
    assert states["v2-named"] == "UNAVAILABLE"


@check
def load_what_is_not_there(client: Any) -> None:
    assert "404" in refused(lambda: client.load_model("unknown"))
    assert "400" in refused(lambda: client.load_model("v2-pairs", config="{}"))


@check
def binary_both_ways(client: Any) -> None:
    answer = client.infer("v2-pairs", [given("input-0", "FP32", PAIRS, binary=True)], request_id="7")
    np.testing.assert_array_equal(answer.as_numpy("output-0"), PAIRS)
    assert answer.get_response()["id"] == "7"
    assert "binary_data_size" in answer.get_output("output-0")["parameters"]


@check
def json_both_ways(client: Any) -> None:
    inputs = [given("input-0", "FP32", np.abs(PAIRS[:1]), binary=False)]
    answer = client.infer("v2-pairs", inputs, outputs=wanted(["output-0"], binary=False))
    np.testing.assert_array_equal(answer.as_numpy("output-0"), PAIRS[:1])
    assert "data" in answer.get_output("output-0")


@check
def a_table_in_binary(client: Any) -> None:
    same_table(client.infer("v2-table", table(binary=True)))


@check
def a_table_in_json(client: Any) -> None:
    inputs = [made for made in table(binary=False) if made.name() != "thin"]
    inputs.append(given("thin", *TABLE["thin"], binary=True))  # its JSON encoder writes a bare NaN
    same_table(client.infer("v2-table", inputs, outputs=wanted(list(TABLE), binary=False)))


@check
def some_outputs(client: Any) -> None:
    answer = client.infer("v2-table", table(binary=True), outputs=wanted(["size"], binary=True))
    assert [output["name"] for output in answer.get_response()["outputs"]] == ["size"]
    np.testing.assert_array_equal(answer.as_numpy("size").ravel(), TABLE["size"][1])


@check
def bytes_and_times(client: Any) -> None:
    raw = np.array([b"\xff\x00", b"aGk="], dtype=object)
    since = np.array(["2024-01-02T03:04:05Z", "2024-01-02"], dtype=object)
    inputs = [
        *table(binary=True),
        given("raw", "BYTES", raw, binary=True),
        given("since", "BYTES", since, binary=True),
    ]
    answer = client.infer("v2-table", inputs)
    assert answer.as_numpy("raw").ravel().tolist() == raw.tolist()
    assert answer.as_numpy("since").ravel()[0].startswith(b"2024-01-02T03:04:05")


@check
def named_tensors(client: Any) -> None:
    ids, words = np.array([[1], [2]]), np.array(["a", "b"], dtype=object)
    answer = client.infer(
        "v2-named", [given("words", "BYTES", words, binary=True), given("ids", "INT64", ids, binary=True)]
    )
    np.testing.assert_array_equal(answer.as_numpy("ids"), ids)
    assert answer.as_numpy("words").ravel().tolist() == [b"a", b"b"]


@check
def parameters(client: Any) -> None:
    inputs = [given("x", "FP64", np.array([1.0]), binary=True)]
    answer = client.infer("v2-params", inputs, parameters={"temperature": 0.25}, timeout=1000, priority=1)
    assert answer.as_numpy("temperature").ravel().tolist() == [0.25]
    assert answer.as_numpy("limit").ravel().tolist() == [3]


@check
def compression(client: Any) -> None:
    inputs = [given("input-0", "FP32", PAIRS, binary=True)]
    for algorithm in ("gzip", "deflate"):
        answer = client.infer(
            "v2-pairs",
            inputs,
            request_compression_algorithm=algorithm,
            response_compression_algorithm=algorithm,
        )
        np.testing.assert_array_equal(answer.as_numpy("output-0"), PAIRS)


@check
def errors(client: Any) -> None:
    wrong = [given("other", "FP32", PAIRS, binary=True), given("x", "FP32", PAIRS, binary=True)]
    assert refused(lambda: client.infer("v2-pairs", wrong)).startswith("400 ")
    assert "404" in refused(lambda: client.infer("v2-pairs", wrong[:1], model_version="99"))
    one = [given("x", "FP64", np.array([1.0]), binary=True)]
    assert "'q'" in refused(lambda: client.infer("v2-params", one, parameters={"q": 1}))


if __name__ == "__main__":
    main(lambda url: http.InferenceServerClient(urlsplit(url).netloc, network_timeout=60.0))
