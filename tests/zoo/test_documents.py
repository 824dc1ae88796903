"""Every model of the zoo has a valid OpenAPI document, which decides about its probes as the gateway does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from openapi_spec_validator import validate

from tests.support.version_documents import body_validator
from tests.zoo.asking import gateway_says
from tests.zoo.cases import cases
from tests.zoo.forms import JSON
from tests.zoo.probes import ENTRIES

if TYPE_CHECKING:
    from tests.support.gateways import Gateway
    from tests.zoo.conftest import Zoo

NOT_IN_A_SCHEMA = (
    "a decimal of 2^52 or more",  # 1e16 is an integer in JSON Schema
    "an integer that a double cannot hold exactly",
    "lacks",  # a key that only some records have is null in the others
    "in a column with decimals",
    "null, which",  # among other values of an optional column
    "not a number",  # of a column in dataframe_split, where columns may come in any order
    "not a string",
    "not a boolean",
    "has a fraction",
    "not an ISO 8601",
    "not base64",
    "is not an array",  # lists of different lengths, without a signature
)
"""What the gateway may refuse although the document allows it, as docs/schemas.md says."""


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("model", [entry.model for entry in ENTRIES])
async def test_document(zoo_gateway: Gateway, zoo: Zoo, model: str) -> None:
    """It is OpenAPI 3.1; the bodies that it allows are taken, and those that it forbids are refused."""
    if model in zoo.absent:
        pytest.skip(zoo.absent[model])
    async with zoo_gateway.get(f"/model/{model}/1/openapi.json") as answer:
        assert answer.status == 200
        document = json.loads(await answer.read())
    validate(document)
    valid = body_validator(document)
    typed = "type hints" in document["info"]["description"]
    wrong = []
    for case in cases():
        if case.entry.model != model or case.body.media_type != JSON or b"NaN" in case.body.content:
            continue
        told = await gateway_says(zoo_gateway, model, case.body)
        allowed = valid.is_valid(json.loads(case.body.content))
        refused = told.status == 400
        if typed and not allowed:
            continue  # MLflow converts for these models, and fills in what has a default in their code
        if allowed == refused and not (allowed and any(reason in told.text for reason in NOT_IN_A_SCHEMA)):
            wrong.append(f"{case.name}: {told.status} {told.text[:300]}; allowed: {allowed}")
    assert wrong == []
