"""What contexts have done before and after their calls: checked when they are read, and put together for one call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from ai_engine.config_file import Document
from ai_engine.templates import Template, clean_value
from ai_engine.tools.call_hooks import CallFacts, CallRecord, Spoken

if TYPE_CHECKING:
    from ai_engine.asterisk.events import Channel
    from ai_engine.contexts import Context


class KnownHooks(Protocol):
    """The tools of the settings, as far as they are of use before or after a call."""

    def lookups(self, name: str) -> frozenset[str] | None:
        """The variables, without `lookup_`, that it gives before a call; None where it is no such tool."""

    def takes_calls(self, name: str) -> bool:
        """Whether it can be told of a call that has ended."""


def wrong_hooks(contexts: Mapping[str, Context], documents: Mapping[str, Document], tools: KnownHooks) -> Iterator[str]:
    """Complaints, each with file and line."""
    for name, context in contexts.items():
        document = documents[name]
        given: set[str] = set()
        for position, tool in enumerate(context.before_call):
            where = document.where(("before_call", position))
            found = tools.lookups(tool)
            if found is None:
                yield f"{where}: `before_call`: {tool!r} is no tool of the settings of kind `http`"
            elif not found:
                yield f"{where}: `before_call`: {tool!r} looks nothing up; give it `variables`"
            given |= found or set()
        for position, tool in enumerate(context.after_call):
            if not tools.takes_calls(tool):
                where = document.where(("after_call", position))
                yield f"{where}: `after_call`: {tool!r} is no tool of the settings of kind `http` or `email`"
        for key, text in context.texts():
            for variable in sorted(Template.parse(text).variables):
                if variable.startswith("lookup_") and variable.removeprefix("lookup_") not in given:
                    yield (
                        f"{document.where((key,))}: `{key}` holds {{{variable}}}, but no tool of `before_call` gives it"
                    )


def call_facts(
    call_id: str, context_name: str, language: str, channel: Channel, variables: Mapping[str, str]
) -> CallFacts:
    """`variables` are the dialplan's, by their own names, or a call's, by those of templates."""
    values = {name.lower(): clean_value(value) for name, value in variables.items()}
    return CallFacts(
        call_id=call_id,
        context=context_name,
        caller_number=clean_value(channel.caller_number),
        caller_name=clean_value(channel.caller_name),
        dialed_number=clean_value(channel.exten),
        language=language,
        variables=values,
    )


def call_record(facts: CallFacts, outcome: str, began_at: float, turns: list[Spoken]) -> CallRecord:
    """Of a call that ends now. `began_at`: seconds of the Unix clock."""
    began = datetime.fromtimestamp(began_at).astimezone()
    return CallRecord(facts, outcome, began, datetime.now().astimezone(), tuple(turns))
