"""docs/protocol.md and docs/protocol.schema.json, made from the models and the rules in tools/protocol_rules.md:

python -m tools.protocol_doc > docs/protocol.md
python -m tools.protocol_doc schema > docs/protocol.schema.json
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from voice_wire import wire_model
from voice_wire.client_messages import VERSION_3_ONLY
from voice_wire.schema import CLIENT, SERVER, json_schema, message_name
from voice_wire.server_messages import Done, LlmDelta, SttStarted, TtsStart
from voice_wire.switching import BackendChanged, SwitchProgress
from voice_wire.wire_model import ErrorCode

RULES = Path(__file__).with_name("protocol_rules.md")
HEAD = """\
# The local AI server's WebSocket

Made by `python -m tools.protocol_doc`; do not edit. The rules stand in `tools/protocol_rules.md`, the fields in the
models of `src/voice_wire`.

"""
VERSION_3 = (*VERSION_3_ONLY, SttStarted, LlmDelta, TtsStart, Done, SwitchProgress, BackendChanged)


def schema_document() -> str:
    return json.dumps(json_schema(), indent=1, ensure_ascii=False) + "\n"


def document() -> str:
    definitions = json_schema()["$defs"]
    lines = [HEAD + RULES.read_text(encoding="utf-8").rstrip()]
    for title, models in (("Messages of the client", CLIENT), ("Messages of the server", SERVER)):
        lines.append(f"\n## {title}")
        for model in models:
            version = " (version 3)" if model in VERSION_3 else ""
            lines += [f"\n### `{message_name(model)}`{version}\n", *_message(definitions[model.__name__])]
    lines.append("\n## Parts of messages")
    messages = {model.__name__ for model in (*CLIENT, *SERVER)} | {"ClientMessage", "ServerMessage"}
    for name in sorted(set(definitions) - messages):
        lines += [f"\n### {name}\n", *_message(definitions[name])]
    lines += ["\n## Error codes\n", "| code | when |", "|---|---|"]
    lines += [f"| `{code}` | {meaning} |" for code, meaning in error_codes().items()]
    return "\n".join(lines) + "\n"


def error_codes() -> dict[str, str]:
    """Each code with the comment beside it."""
    source = Path(wire_model.__file__).read_text(encoding="utf-8")
    beside = dict(re.findall(r'^    "(\w+)",(?:  # (.*))?$', source, re.MULTILINE))
    return {code: beside[code] for code in get_args(ErrorCode)}


def _message(definition: dict[str, Any]) -> Iterator[str]:
    if description := definition.get("description"):
        yield _one_line(description)
    required = set(definition.get("required", ()))
    fields = {name: field for name, field in definition.get("properties", {}).items() if "const" not in field}
    if fields:
        yield ""
        yield "| field | what | left out | meaning |"
        yield "|---|---|---|---|"
    for name, field in fields.items():
        left_out = "needed" if name in required else _default(field)
        yield f"| `{name}` | {_kind(field)} | {left_out} | {_one_line(field.get('description', ''))} |"


def _default(field: dict[str, Any]) -> str:
    default = field.get("default")
    if isinstance(default, dict):
        default = {name: value for name, value in default.items() if value is not None}
    return "" if default in (None, {}, []) else f"`{json.dumps(default, ensure_ascii=False)}`"


def _kind(field: dict[str, Any]) -> str:
    """What a value may be, in words: `text, 1 to 128 characters`."""
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in field:
        return " or ".join(_kind(each) for each in field["anyOf"] if each.get("type") != "null")
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    kinds = {"string": "text", "integer": "whole number", "boolean": "true or false", "object": "object"}
    kind = kinds.get(field.get("type", ""), str(field.get("type", "anything")))
    if kind == "array":
        kind = f"list of {_kind(field.get('items', {}))}"
    elif isinstance(inner := field.get("additionalProperties"), dict):
        kind = f"object of {_kind(inner)}"
    return kind + _bounds(field)


def _bounds(field: dict[str, Any]) -> str:
    for low, high, unit in (
        ("minimum", "maximum", ""),
        ("exclusiveMinimum", "maximum", ""),
        ("minLength", "maxLength", " characters"),
        ("minItems", "maxItems", ""),
    ):
        least, most = field.get(low), field.get(high)
        if least is not None and most is not None:
            above = "above " if low == "exclusiveMinimum" else ""
            return f", {above}{least} to {most}{unit}"
        if most is not None and low != "exclusiveMinimum":
            return f", at most {most}{unit}"
    return ""


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(schema_document() if sys.argv[1:] == ["schema"] else document())
