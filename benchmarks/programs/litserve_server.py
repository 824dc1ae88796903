"""`python litserve_server.py MODEL PORT BATCH SECONDS`: LitServe with a pyfunc model; BATCH 1 merges nothing.

Runs in .venv-litserve, so it imports nothing of the benchmark.
"""

from __future__ import annotations

import sys
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import litserve
import mlflow
import pandas as pd

if TYPE_CHECKING:
    from typing import Any  # noqa: F401 - in the comments below

Rows = tuple[list[str], list[list[float]]]


class Api(litserve.LitAPI):  # type: ignore[misc] # its types are in another environment
    """What both have in common: the model, and MLflow's form of bodies and answers.

    LitServe reads the annotations of two methods and would have pydantic check what they name; without
    any, bodies and answers pass as they are. So their types stand in comments.
    """

    def setup(self, device: str) -> None:
        """Load the model, in the process that predicts; it runs on the CPU whatever `device` says."""
        self.model = mlflow.pyfunc.load_model(sys.argv[1])

    def decode_request(self, request):  # type: (dict[str, Any]) -> Rows
        """The columns and rows of `dataframe_split`."""
        split = request["dataframe_split"]
        return split["columns"], split["data"]

    def predicted(self, columns: list[str], rows: list[list[float]]) -> list[float]:
        """The model's predictions of the rows, from one DataFrame."""
        predictions: list[float] = self.model.predict(pd.DataFrame(rows, columns=columns)).tolist()
        return predictions

    def encode_response(self, output):  # type: (list[float]) -> dict[str, Any]
        """The answer in MLflow's form."""
        return {"predictions": output}


class Single(Api):
    """One request, one prediction."""

    def predict(self, x: Rows) -> list[float]:
        """The predictions of one request."""
        return self.predicted(*x)


class Merged(Api):
    """Several requests, one prediction; all bodies here have the same columns."""

    def batch(self, inputs: list[Rows]) -> tuple[Rows, list[int]]:
        """All rows in one list, and how many each request has."""
        rows = [row for _, some in inputs for row in some]
        return (inputs[0][0], rows), [len(some) for _, some in inputs]

    def predict(self, x: tuple[Rows, list[int]]) -> tuple[list[float], list[int]]:
        """The predictions of all, and still the lengths."""
        return self.predicted(*x[0]), x[1]

    def unbatch(self, output: tuple[list[float], list[int]]) -> list[list[float]]:
        """To each request its own; a list, since LitServe asks for its length."""
        predictions, lengths = output
        return [predictions[start:end] for start, end in pairwise(accumulate(lengths, initial=0))]


def main() -> None:
    """Serve until a signal ends the process."""
    _, _, port, batch, seconds = sys.argv
    merging = int(batch) > 1
    api = Merged(max_batch_size=int(batch), batch_timeout=float(seconds)) if merging else Single()
    server = litserve.LitServer(api, accelerator="cpu", timeout=False)
    server.run(
        host="127.0.0.1",
        port=int(port),
        num_api_servers=1,
        generate_client_file=False,
        log_level="warning",
        access_log=False,
    )


if __name__ == "__main__":
    main()
