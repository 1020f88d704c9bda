"""JSON Schema of every message, made from the models. docs/protocol.schema.json holds it (`tools/protocol_doc.py`).

What is written there is the canonical form. The server also reads words in any case, `-` for `_` in a `type`, numbers
for ids, and `token` for `auth_token`.
"""

from __future__ import annotations

from typing import Any, Final, get_args

from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from voice_wire.client_messages import VERSION_3_ONLY, ClientMessage
from voice_wire.server_messages import ServerMessage
from voice_wire.wire_model import WireModel

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
CLIENT: Final[tuple[type[WireModel], ...]] = get_args(ClientMessage)
SERVER: Final[tuple[type[WireModel], ...]] = get_args(ServerMessage)


def message_name(model: type[WireModel]) -> str:
    """The `type` of its messages."""
    return str(model.model_fields["type"].default)


class _WithoutTitles(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: object) -> bool:
        """A field's name says it."""
        return False


def json_schema() -> dict[str, Any]:
    """One document: `#/$defs/ClientMessage` and `#/$defs/ServerMessage` are what either side may send."""
    _, document = models_json_schema(
        [*((model, "validation") for model in CLIENT), *((model, "serialization") for model in SERVER)],
        schema_generator=_WithoutTitles,
    )
    definitions: dict[str, Any] = document["$defs"]
    for model in (*CLIENT, *SERVER):
        definition = definitions[model.__name__]
        definition["required"] = ["type", *(name for name in definition.get("required", ()) if name != "type")]
        definition["title"] = message_name(model)
        definition.pop("additionalProperties", None)  # a newer peer may say more
    for model in VERSION_3_ONLY:
        definitions[model.__name__]["$comment"] = "protocol version 3"
    definitions["ClientMessage"] = _one_of(CLIENT)
    definitions["ServerMessage"] = _one_of(SERVER)
    return {
        "$schema": DIALECT,
        "title": "The local AI server's WebSocket",
        "description": "Text frames. Binary frames are audio; docs/protocol.md says how they are framed.",
        "anyOf": [{"$ref": "#/$defs/ClientMessage"}, {"$ref": "#/$defs/ServerMessage"}],
        "$defs": dict(sorted(definitions.items())),
    }


def _one_of(models: tuple[type[WireModel], ...]) -> dict[str, Any]:
    return {"oneOf": [{"$ref": f"#/$defs/{model.__name__}"} for model in models]}
