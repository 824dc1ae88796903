"""Tiny agents of MLflow's two current kinds, which need no network: they return the last message."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import cloudpickle
from mlflow.pyfunc.model import ChatAgent, ResponsesAgent
from mlflow.types.agent import ChatAgentChunk, ChatAgentMessage, ChatAgentResponse
from mlflow.types.responses import ResponsesAgentRequest, ResponsesAgentResponse, ResponsesAgentStreamEvent

if TYPE_CHECKING:
    from collections.abc import Generator

cloudpickle.register_pickle_by_value(sys.modules[__name__])


class Chats(ChatAgent):
    """A ChatAgent, whose requests have `messages`; it streams one word a chunk."""

    def predict(  # type: ignore[override] # MLflow's own base class does so
        self, messages: list[ChatAgentMessage], context: Any = None, custom_inputs: Any = None
    ) -> ChatAgentResponse:
        reply = ChatAgentMessage(role="assistant", content=messages[-1].content, id="1")
        return ChatAgentResponse(messages=[reply])

    def predict_stream(  # type: ignore[override] # likewise
        self, messages: list[ChatAgentMessage], context: Any = None, custom_inputs: Any = None
    ) -> Generator[ChatAgentChunk, None, None]:
        for word in str(messages[-1].content).split():
            yield ChatAgentChunk(delta=ChatAgentMessage(role="assistant", content=word, id="1"))


class Responds(ResponsesAgent):
    """A ResponsesAgent, whose requests have an `input`; it streams one word a chunk."""

    def predict(  # type: ignore[override] # likewise
        self, request: ResponsesAgentRequest
    ) -> ResponsesAgentResponse:
        return ResponsesAgentResponse(output=[self.create_text_output_item(_last(request), "1")])

    def predict_stream(  # type: ignore[override] # likewise
        self, request: ResponsesAgentRequest
    ) -> Generator[ResponsesAgentStreamEvent, None, None]:
        for word in _last(request).split():
            yield ResponsesAgentStreamEvent(**self.create_text_delta(word, "1"))


def _last(request: ResponsesAgentRequest) -> str:
    message: dict[str, Any] = request.input[-1].model_dump()
    return str(message["content"])
