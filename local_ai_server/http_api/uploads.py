"""Multipart forms with one file in them, bounded: a file's name is never looked at, its bytes lie on disk unnamed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, BinaryIO, Final, TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request

from local_ai_server.errors import ServeError

_MAX_FIELDS: Final = 40
_MAX_FIELD_BYTES: Final = 16 * 1024

Fields = TypeVar("Fields", bound=BaseModel)


@asynccontextmanager
async def upload(request: Request, fields: type[Fields]) -> AsyncIterator[tuple[Fields, BinaryIO]]:
    """The form's fields and its `file`, which is given back at the end.

    Raises `ServeError` and `RequestValidationError` for what is missing or wrong.
    """
    async with request.form(max_files=1, max_fields=_MAX_FIELDS, max_part_size=_MAX_FIELD_BYTES) as form:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise ServeError("invalid_message", "send multipart/form-data with the recording as its field `file`")
        try:
            given = fields.model_validate(_texts(form))
        except ValidationError as error:
            raise RequestValidationError(error.errors(include_input=False, include_url=False)) from None
        spooled: Any = file.file
        await asyncio.to_thread(spooled.rollover)  # what decodes it needs a real file
        yield given, spooled


def form_body(fields: type[BaseModel]) -> dict[str, Any]:
    """`requestBody` of OpenAPI for a route that takes `upload`."""
    schema = fields.model_json_schema()
    properties = {"file": {"type": "string", "format": "binary", "description": "The recording."}}
    schema = {
        **schema,
        "properties": properties | schema.get("properties", {}),
        "required": ["file", *schema.get("required", ())],
    }
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


def _texts(form: FormData) -> dict[str, Any]:
    """`name` → text; `name[]` → all of that name. What came as a file stands for itself, but for `file`."""
    given: dict[str, Any] = {}
    for name, value in form.multi_items():
        if name.endswith("[]"):
            given.setdefault(name, []).append(value)
        elif name != "file":
            given[name] = value
    return given
