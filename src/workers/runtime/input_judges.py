"""Tell whether MLflow's own code rejected an input: then the fault is the client's, and not the model's.

MLflow has no class of errors for that. Its server answers 400 whatever was raised; here the traceback tells
which function raised, and whether any code of the model ran before.
"""

from __future__ import annotations

import re
import sys
import traceback
from itertools import dropwhile, takewhile
from typing import TYPE_CHECKING, Any

from mlflow.exceptions import MlflowException

from workers.errors import InvalidInput

if TYPE_CHECKING:
    from types import FrameType

# MLflow's functions that check or convert the input before the model gets it. What is raised in them,
# whatever its class, is about the input: pydantic's errors too, and those of the validators in a type hint.
_JUDGES = frozenset(
    {
        "_validate_prediction_input",  # signatures of columns, of tensors and of params
        "_enforce_params_schema",
        "_convert_dataframe_to_example_format",
        "_validate_model_input",  # type hints
        "_convert_input",  # ChatModel, ChatAgent, ResponsesAgent, and hints that MLflow fits itself
        "_convert_llm_input_data",  # streams, langchain and llama-index
        "_convert_llm_input_data_with_unwrapping",
        "_get_model_input",  # dspy
        "_prepare_predict_messages",  # langchain
        "_prepare_predict_stream_messages",
        "_validate_text_classification_input",  # transformers, as those below
        "_parse_input_for_table_question_answering",
        "_parse_question_answer_input",
        "_parse_text2text_input",
        "_parse_json_encoded_list",
        "_validate_str_or_list_str",
        "_decode_audio",
    }
)
_TYPE_HINT_MODULE = "mlflow.pyfunc.utils.data_validation"  # its wrapper of `predict` raises for type hints
_STREAM_FUNCTION = "_predict_stream"  # raises by itself only if the input is not a single one
# The wrappers of pytorch, tensorflow, onnx, paddle, spacy, statsmodels and diffusers raise in `predict`
# itself, with texts that say what the input has to be. They complain of the model's output in others.
_WRAPPER_FUNCTION = "predict"
_ABOUT_INPUT = re.compile(r"\binput\b|\bprompts?\b|^prediction dataframes", re.IGNORECASE)
_OWN_PACKAGE = "workers."
_INVALID = "INVALID_PARAMETER_VALUE"


def as_invalid_input(error: Exception) -> InvalidInput | None:
    """Return the error for the client if MLflow rejected the input before any code of the model ran.

    Call it while `error` is handled.
    """
    trace = [frame for frame, _ in traceback.walk_tb(sys.exc_info()[2])]
    frames = list(dropwhile(lambda frame: _module_name(frame).startswith(_OWN_PACKAGE), trace))
    mlflow_frames = list(takewhile(lambda frame: _module_name(frame).startswith("mlflow."), frames))
    functions = [frame.f_code.co_name for frame in mlflow_frames]
    raised_by_mlflow = bool(frames) and len(mlflow_frames) == len(frames)
    if raised_by_mlflow and functions[-1] == _STREAM_FUNCTION and isinstance(error, MlflowException):
        return InvalidInput("A stream takes a single input; the body has several or none.")
    if not _JUDGES.isdisjoint(functions) or (raised_by_mlflow and _blames_input(error, frames[-1])):
        return InvalidInput("The input does not fit the model's signature; GET the version to see it.")
    return None


def _blames_input(error: Any, frame: FrameType) -> bool:
    """Return whether an error that MLflow raised beside the model's code, or after it, is about the input."""
    if isinstance(error, MlflowException) and (
        _module_name(frame) == _TYPE_HINT_MODULE or error.error_code == _INVALID
    ):
        return True
    in_wrapper = frame.f_code.co_name == _WRAPPER_FUNCTION and isinstance(error, MlflowException | TypeError)
    return in_wrapper and _ABOUT_INPUT.search(str(error)) is not None


def _module_name(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__"))
