"""An OpenAPI document as one page of HTML: no script, nothing from elsewhere. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any, Final

STYLE: Final = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
h2 { margin-top: 2.5rem; border-top: 1px solid #ccc; padding-top: 1rem; }
code { background: #f2f2f2; padding: 0 .2rem; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 1rem; }
td, th { border: 1px solid #ddd; padding: .25rem .5rem; text-align: left; vertical-align: top; }
nav li { list-style: none; }
@media (prefers-color-scheme: dark) {
  body { background: #181818; color: #ddd; } code { background: #2a2a2a; } td, th { border-color: #444; }
  a { color: #8bf; }
}
"""
_METHODS: Final = ("get", "post", "put", "patch", "delete")
_REFERENCE: Final = "#/components/schemas/"

Json = Mapping[str, Any]


def page(document: Json) -> str:
    """All routes, then all schemas that they name."""
    info = document["info"]
    operations = [
        (method, path, item[method])
        for path, item in document["paths"].items()
        for method in _METHODS
        if method in item
    ]
    links = "".join(
        f'<li><a href="#{_id(m, p)}"><code>{m.upper()} {escape(p)}</code></a></li>' for m, p, _ in operations
    )
    routes = "".join(_operation(method, path, operation) for method, path, operation in operations)
    schemas = "".join(
        f'<h3 id="{escape(name)}">{escape(name)}</h3>{_text(schema)}{_fields(schema)}'
        for name, schema in document.get("components", {}).get("schemas", {}).items()
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(info["title"])}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>'
        f"<h1>{escape(info['title'])}</h1><p>{escape(info.get('description', ''))}</p>"
        f'<p>The same for programs: <a href="/openapi.json">/openapi.json</a></p>'
        f"<nav><ul>{links}</ul></nav>{routes}<h2>Schemas</h2>{schemas}</body></html>"
    )


def _operation(method: str, path: str, operation: Json) -> str:
    token = "" if operation.get("security") == [] else "<p>Asks for the token, where one is set.</p>"
    parameters = operation.get("parameters", ())
    rows = ((p["name"], p.get("schema", {}), p.get("required", False), p.get("description")) for p in parameters)
    body = "".join(
        f"<h4>Body: <code>{escape(kind)}</code></h4>{_schema(content.get('schema', {}))}"
        for kind, content in operation.get("requestBody", {}).get("content", {}).items()
    )
    answers = "".join(_answer(status, answer) for status, answer in sorted(operation["responses"].items()))
    return (
        f'<h2 id="{_id(method, path)}"><code>{method.upper()} {escape(path)}</code></h2>'
        f"{_text(operation)}{token}{_table(rows) if parameters else ''}{body}"
        f"<h4>Answers</h4><table>{answers}</table>"
    )


def _answer(status: str, answer: Json) -> str:
    kinds = ", ".join(
        f"<code>{escape(kind)}</code> {_type(content.get('schema', {}))}"
        for kind, content in answer.get("content", {}).items()
    )
    return f"<tr><td>{escape(status)}</td><td>{escape(answer.get('description', ''))}</td><td>{kinds}</td></tr>"


def _schema(schema: Json) -> str:
    return _fields(schema) if "properties" in schema else f"<p>{_type(schema)}</p>"


def _fields(schema: Json) -> str:
    required = schema.get("required", ())
    return _table(
        (name, field, name in required, field.get("description"))
        for name, field in schema.get("properties", {}).items()
    )


def _table(rows: Iterable[tuple[str, Json, bool, str | None]]) -> str:
    cells = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td>{_type(schema)}</td>"
        f"<td>{'required' if required else _default(schema)}</td><td>{escape(text or '')}</td></tr>"
        for name, schema, required, text in rows
    )
    return f"<table><tr><th>field</th><th>type</th><th>default</th><th></th></tr>{cells}</table>"


def _type(schema: Json) -> str:
    """A schema in a word or two, linked where it has a name."""
    if "$ref" in schema:
        name = escape(schema["$ref"].removeprefix(_REFERENCE))
        return f'<a href="#{name}">{name}</a>'
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return " or ".join(_type(one) for one in schema[several])
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        return " or ".join(f"<code>{escape(str(value))}</code>" for value in values)
    kind = schema.get("type", "anything")
    kinds = " or ".join(kind) if isinstance(kind, list) else str(kind)
    if kinds == "array":
        return f"list of {_type(schema.get('items', {}))}"
    bounds = [f"{sign} {schema[name]}" for name, sign in (("minimum", "≥"), ("maximum", "≤")) if name in schema]
    return escape(" ".join((kinds, *bounds)))


def _default(schema: Json) -> str:
    default = schema.get("default")
    return "" if default in (None, [], "") else f"<code>{escape(str(default))}</code>"


def _text(described: Json) -> str:
    return "".join(f"<p>{escape(part)}</p>" for part in described.get("description", "").split("\n\n") if part)


def _id(method: str, path: str) -> str:
    return escape(f"{method}{path.replace('/', '-').replace('{', '').replace('}', '')}")
