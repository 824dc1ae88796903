"""Proves that documents are built once while they are in use, and within bounds."""

from __future__ import annotations

import asyncio

from gateway.api import openapi
from gateway.api.schema.document import MAX_EXAMPLE_BYTES, Described
from gateway.api.schema.documents import VersionDocuments
from gateway.domain.mlmodel import Mlmodel, Signature
from tests.support.version_documents import KEY, document

COLUMN = {"type": "double", "name": "a"}


def described(**changes: object) -> Described:
    parts: dict[str, object] = {"mlmodel": Mlmodel(signature=Signature(inputs=[COLUMN])), "example": b"[1]"}
    return Described(key=KEY, source="registry", **{**parts, **changes})  # type: ignore[arg-type] # of tests


async def test_one_document_for_one_description() -> None:
    """Requests at once, and later ones, share a document; other files or checks make another one."""
    documents = VersionDocuments(openapi.build_document())
    same = described()
    first, *others = await asyncio.gather(*(documents.get(same) for _ in range(5)))
    others.append(await documents.get(same))
    assert all(other is first for other in others)
    by_mlflow = Described(
        key=KEY, source="registry", mlmodel=same.mlmodel, example=same.example, checks_by_mlflow=True
    )
    assert "MLflow's own rules" in (await documents.get(by_mlflow)).text
    assert (await documents.get(described())).rest == first.rest
    await documents.close()


async def test_what_is_kept_is_bounded() -> None:
    """A document that would take the room of the others is not kept."""
    documents = VersionDocuments(openapi.build_document(), max_cached_bytes=10_000)
    same = described()
    assert await documents.get(same) is not await documents.get(same)
    await documents.close()


def examples(example: bytes) -> object:
    found = document(Signature(inputs=[COLUMN]), example=example)
    (path,) = [path for path in found["paths"] if path.endswith("/invocation")]
    content = found["paths"][path]["post"]["requestBody"]["content"]["application/json"]
    return content.get("examples", {}).get("logged", {}).get("value")


def test_examples_are_bodies() -> None:
    """Older versions of MLflow stored the data alone, which goes under `inputs`."""
    assert examples(b'{"dataframe_split": {"columns": ["a"], "data": [[1]]}}')
    assert examples(b'{"columns": ["a"], "data": [[1]]}') == {"columns": ["a"], "data": [[1]]}
    assert examples(b'[{"a": 1}]') == [{"a": 1}]
    assert examples(b'{"a": [1]}') == {"inputs": {"a": [1]}}
    assert examples(b"[[1]]") == {"inputs": [[1]]}
    assert examples(b"[%b1]" % (b" " * MAX_EXAMPLE_BYTES)) is None


def test_nothing_known_is_anything_allowed() -> None:
    """Without a signature each form takes any data, and the document says why."""
    found = document(None)
    assert "no signature" in found["info"]["description"]
    assert found["components"]["schemas"]["InputsBody"]["properties"]["inputs"] == {}


async def test_the_longest_signatures_are_named_not_described() -> None:
    """Their document would be too large to be kept, and each request for it would cost as much again."""
    columns = [{"type": "datetime", "name": f"{number}", "required": False} for number in range(18_000)]
    documents = VersionDocuments(openapi.build_document())
    long = described(mlmodel=Mlmodel(signature=Signature(inputs=columns)))
    first = await documents.get(long)
    assert await documents.get(long) is first
    assert len(first.rest) < 100_000
    assert "too long to be described" in first.text
    await documents.close()
