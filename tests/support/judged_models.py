"""One model of each class whose input MLflow judges itself, for the tests of who is to blame for an error."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import cloudpickle
import pydantic
from mlflow.pyfunc.model import ChatAgent, ChatModel, PythonModel, ResponsesAgent
from mlflow.pyfunc.utils import pyfunc
from mlflow.types.agent import ChatAgentChunk, ChatAgentMessage, ChatAgentResponse
from mlflow.types.llm import (
    ChatChoice,
    ChatChoiceDelta,
    ChatChunkChoice,
    ChatCompletionChunk,
    ChatCompletionResponse,
    ChatMessage,
)
from mlflow.types.responses import ResponsesAgentResponse, ResponsesAgentStreamEvent

if TYPE_CHECKING:
    from collections.abc import Iterator

cloudpickle.register_pickle_by_value(sys.modules[__name__])

FAIL = "fail"
"""A text in the input on which each model raises pydantic's ValidationError itself."""


class Inner(pydantic.BaseModel):
    """A pydantic model that the models' own code uses."""

    number: int


def _check(text: object) -> str:
    if FAIL in str(text):
        Inner(number="no number")
    return str(text)


class Chat(ChatModel):
    """A chat model that repeats the last message."""

    def predict(self, context: Any, messages: Any, params: Any) -> Any:  # type: ignore[override] # as MLflow's guide
        message = ChatMessage("assistant", _check(messages[-1].content))
        return ChatCompletionResponse([ChatChoice(message)], model="m")

    def predict_stream(self, context: Any, messages: Any, params: Any) -> Iterator[Any]:  # type: ignore[override] # as MLflow's guide
        delta = ChatChoiceDelta(content=_check(messages[-1].content))
        yield ChatCompletionChunk([ChatChunkChoice(delta)], model="m")


class Agent(ChatAgent):
    """A chat agent that repeats the last message."""

    def predict(self, messages: Any, context: Any = None, custom_inputs: Any = None) -> Any:  # type: ignore[override] # as MLflow's guide
        message = ChatAgentMessage(role="assistant", content=_check(messages[-1].content), id="1")
        return ChatAgentResponse(messages=[message])

    def predict_stream(self, messages: Any, context: Any = None, custom_inputs: Any = None) -> Iterator[Any]:  # type: ignore[override] # as MLflow's guide
        message = ChatAgentMessage(role="assistant", content=_check(messages[-1].content), id="1")
        yield ChatAgentChunk(delta=message)


class Responses(ResponsesAgent):
    """A responses agent that repeats the last input."""

    def predict(self, request: Any) -> Any:  # type: ignore[override] # as MLflow's guide
        item = self.create_text_output_item(text=_check(request.input[-1].content), id="1")
        return ResponsesAgentResponse(output=[item])

    def predict_stream(self, request: Any) -> Iterator[Any]:  # type: ignore[override] # as MLflow's guide
        item = self.create_text_output_item(text=_check(request.input[-1].content), id="1")
        yield ResponsesAgentStreamEvent(type="response.output_item.done", item=item)


class Message(pydantic.BaseModel):
    """What a model with a type hint takes."""

    role: str
    tokens: list[int] = []

    @pydantic.field_validator("role")
    @classmethod
    def check_role(cls, role: str) -> str:
        """Raise what pydantic does not translate."""
        if role == "odd":
            raise KeyError(role)
        return role


class Messages(PythonModel):
    """A model with a type hint of pydantic models."""

    def predict(self, model_input: list[Message]) -> list[str]:  # type: ignore[override] # MLflow allows it
        return [_check(message.role) for message in model_input]


class Mappings(PythonModel):
    """A model with a type hint of objects."""

    def predict(self, model_input: list[dict[str, int]]) -> list[str]:  # type: ignore[override] # as above
        return [_check(list(each)) for each in model_input]


class Lists(PythonModel):
    """A model with a type hint of lists."""

    def predict(self, model_input: list[list[str]]) -> list[str]:  # type: ignore[override] # as above
        return [_check(each) for each in model_input]


class Optionals(PythonModel):
    """A model with a type hint of pydantic models and a context."""

    def predict(self, context: Any, model_input: list[Message], params: Any = None) -> list[str]:
        return [_check(message.role) for message in model_input]


@pyfunc  # type: ignore[untyped-decorator] # MLflow's
def texts(model_input: list[str]) -> list[str]:
    """Repeat texts; a decorated function."""
    return [_check(text) for text in model_input]
