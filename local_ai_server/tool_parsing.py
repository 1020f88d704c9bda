"""Tool calls in what a model wrote: each family has a markup of its own. Pure: text in, calls and the rest out."""

from __future__ import annotations

import ast
import itertools
import json
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

MAX_CALLS: Final = 8
_MAX_CHARS: Final = 16_000
"""Of an answer that are looked at; a model that writes more has lost its way."""
_MAX_STARTS: Final = 16
"""Brackets at which JSON may begin that are tried: each may be read to the end of the text in vain."""

_MARKED: Final = re.compile(
    r"<tool_call>(?P<tagged>.*?)(?:</tool_call>|$)"  # Hermes, Qwen, SmolLM
    r"|\[TOOL_CALLS\](?P<mistral>.*)"  # Mistral
    r"|<\|python_tag\|>(?P<llama>.*)"  # Llama 3
    r"|(?P<function><function=.*?(?:</function>|$))"  # Llama 3.1, Qwen coder
    r"|```(?:json|tool_call|tool_code|python)?[ \t]*\n?(?P<fenced>.*?)(?:```|$)",
    re.DOTALL,
)
_FUNCTION: Final = re.compile(r"<function=(?P<name>[\w.\-]+)>(?P<inside>.*?)(?:</function>|$)", re.DOTALL)
_PARAMETER: Final = re.compile(r"<parameter=(?P<name>[\w.\-]+)>(?P<value>.*?)(?:</parameter>|$)", re.DOTALL)
_WRITTEN: Final = re.compile(r"^[ \t]*(?P<name>[\w.\-]+)\((?P<inside>[^()]*)\)[ \t]*$", re.MULTILINE)
_NAMES: Final = ("name", "tool", "tool_name", "function")
_ARGUMENTS: Final = ("arguments", "parameters", "args", "input")


@dataclass(frozen=True, slots=True)
class WrittenCall:
    """A call as the model wrote it; nothing of it is checked."""

    name: str
    arguments: Any


@dataclass(slots=True)
class Parsed:
    """What was found in an answer."""

    calls: list[WrittenCall] = field(default_factory=list)
    text: str = ""
    """The answer without its markup."""
    failures: int = 0
    """Places that were meant as a call and could not be read."""


def parse_calls(text: str, names: Collection[str]) -> Parsed:
    """The calls in `text`. `names` are the tools there are: a call written as code counts only if it names one."""
    text = text[:_MAX_CHARS]
    parsed = Parsed()
    spans: list[tuple[int, int]] = []
    for mark in _MARKED.finditer(text):
        kind = mark.lastgroup or ""
        found = list(_calls_in(mark[kind], names))
        if not found and kind == "fenced":
            continue  # a block of something else
        parsed.failures += not found
        parsed.calls += found
        spans.append(mark.span())
    if not spans:
        bare = list(_calls_in(text, names)) if text.lstrip().startswith(("{", "[")) else []
        if bare:
            parsed.calls, spans = bare, [(0, len(text))]
        else:
            for code in _WRITTEN.finditer(text):
                if code["name"] in names:
                    spans.append(code.span())
                    arguments = _keywords(code["inside"])
                    parsed.failures += arguments is None
                    parsed.calls += [] if arguments is None else [WrittenCall(code["name"], arguments)]
    parsed.calls = parsed.calls[:MAX_CALLS]
    parsed.text = _without(text, spans)
    return parsed


def read_json(text: str) -> Any:
    """The JSON value that `text` is, else the first object or list in it: models write things before and after.

    None when there is none.
    """
    with suppress(ValueError, RecursionError):
        return json.loads(text)
    for start in itertools.islice(re.finditer(r"[{\[]", text), _MAX_STARTS):
        try:
            return json.JSONDecoder().raw_decode(text, start.start())[0]
        except (ValueError, RecursionError):
            continue
    return None


def _calls_in(text: str, names: Collection[str]) -> Iterator[WrittenCall]:
    if "<function=" in text:
        for function in _FUNCTION.finditer(text):
            inside = function["inside"]
            values = {p["name"]: _plain_value(p["value"].strip()) for p in _PARAMETER.finditer(inside)}
            yield WrittenCall(function["name"], values or read_json(inside) or {})
        return
    value = read_json(text)
    entries = value if isinstance(value, list) else [value]
    for entry in entries:
        if isinstance(entry, Mapping) and (call := _call(entry)) is not None:
            yield call
    if value is None and (code := _WRITTEN.search(text)) and code["name"] in names:
        arguments = _keywords(code["inside"])
        if arguments is not None:
            yield WrittenCall(code["name"], arguments)


def _call(entry: Mapping[str, Any]) -> WrittenCall | None:
    if isinstance(entry.get("function"), Mapping):
        entry = entry["function"]
    name = next((entry[key] for key in _NAMES if isinstance(entry.get(key), str)), None)
    if name is None:
        return None
    arguments: Any = next((entry[key] for key in _ARGUMENTS if key in entry), {})
    if isinstance(arguments, str):  # OpenAI writes JSON in a string
        arguments = read_json(arguments) if arguments.strip() else {}
    return WrittenCall(name, {} if arguments is None else arguments)


def _plain_value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _keywords(inside: str) -> dict[str, Any] | None:
    """`a="x", b=2` as a dict; None for anything that is not plain values with names."""
    try:
        call = ast.parse(f"f({inside})", mode="eval").body
        if not isinstance(call, ast.Call) or call.args:
            return None
        return {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords if keyword.arg}
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _without(text: str, spans: list[tuple[int, int]]) -> str:
    kept, at = [], 0
    for start, end in spans:
        kept.append(text[at:start])
        at = end
    return "".join([*kept, text[at:]]).strip()
