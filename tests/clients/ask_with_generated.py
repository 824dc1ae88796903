"""Sends the example of a version's document with the client that was generated from it; run as a script.

Runs in the environment of the generator. Prints the answer as JSON.

    python -m tests.clients.ask_with_generated ADDRESS DOCUMENT FOLDER
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

FORMS = {
    "dataframe_split": "SplitBody",
    "dataframe_records": "RecordsBody",
    "instances": "InstancesBody",
    "inputs": "InputsBody",
    "columns": "ColumnsBody",
}
LANGUAGE_MODELS = "LanguageModelBody"


def main(address: str, document: Path, folder: Path) -> None:
    """Send the example as the client's class of its form, and print what the client made of the answer."""
    sys.path.insert(0, str(folder.parent))
    client: Any = importlib.import_module(f"{folder.name}.client")
    models: Any = importlib.import_module(f"{folder.name}.models")
    invoke: Any = importlib.import_module(f"{folder.name}.api.invocation.invoke")
    example = logged_example(json.loads(document.read_text()))
    form = next((kind for key, kind in FORMS.items() if key in example), LANGUAGE_MODELS)
    body = getattr(models, form).from_dict(example)
    assert body.to_dict() == example, "the client sends something else than the example"
    answer = invoke.sync(client=client.Client(base_url=address, raise_on_unexpected_status=True), body=body)
    found = answer.to_dict() if hasattr(answer, "to_dict") else answer
    print(json.dumps({"class": type(answer).__name__, "answer": found}))  # noqa: T201 - the test reads it


def logged_example(document: dict[str, Any]) -> dict[str, Any]:
    """Return the example that the version was logged with."""
    (operation,) = [
        item["post"]
        for path, item in document["paths"].items()
        if path.startswith("/model/") and path.endswith("/invocation")
    ]
    content = operation["requestBody"]["content"]["application/json"]
    example: dict[str, Any] = content["examples"]["logged"]["value"]
    return example


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
