"""The form that an answer is asked to have (`response_format`), checked before it becomes a grammar in a worker."""

from __future__ import annotations

from typing import Any, Final

from local_ai_server.errors import ServeError
from local_ai_server.tool_schemas import read_tools
from voice_wire.messages import ResponseFormat

_NAME: Final = "answer"


def answer_format(wanted: ResponseFormat | None) -> dict[str, Any]:
    """Keywords of `generate`: none for plain text; of a schema its references are followed and its size is bounded.

    Raises `ServeError` (invalid_message) for a schema that cannot be used, with the reason.
    """
    if wanted is None or wanted.type == "text":
        return {}
    if wanted.type == "json_object":
        return {"response_format": {"type": "json_object"}}
    if not wanted.json_schema:
        raise ServeError("invalid_message", "response_format: type json_schema needs a json_schema")
    return {"response_format": {"type": "json_schema", "json_schema": _read(wanted.json_schema)}}


def _read(schema: dict[str, Any]) -> dict[str, Any]:
    """The checks of a tool's parameters are these as well; a schema of something else goes as a part of an object."""
    is_object = schema.get("type", "object") == "object"
    parameters = schema if is_object else {"type": "object", "properties": {_NAME: schema}}
    try:
        (tool,) = read_tools([{"name": _NAME, "parameters": parameters}], None)
    except ServeError as error:
        reason = str(error).partition("cannot be used: ")[2] or str(error)
        raise ServeError("invalid_message", f"response_format: the schema cannot be used: {reason}") from None
    if is_object:
        return tool.parameters
    inner: dict[str, Any] = tool.parameters["properties"][_NAME]
    return inner
