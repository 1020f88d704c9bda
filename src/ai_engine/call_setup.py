"""What a call takes from its context: which one it is, and the conversation's settings and sentences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from ai_engine.asterisk.reconcile import Fallback
from ai_engine.business_hours import BusinessHours
from ai_engine.contexts import CallTexts, Context, dialed_entries
from ai_engine.conversation.conversation_settings import ConversationSettings, GreetingMode, Phrases
from ai_engine.dialed_numbers import context_of


@dataclass(frozen=True, slots=True)
class Choice:
    """The context of one call."""

    name: str
    context: Context
    hours: BusinessHours | None = None
    """Those that were asked, whichever context they led to."""
    unknown: str = ""
    """The context that was asked for and is not there; the default answers."""


def choose_context(
    contexts: Mapping[str, Context], default: str, asked_for: str | None, now: datetime, *, dialed: str = ""
) -> Choice:
    """The context asked for, else that of the `dialed` number, else the default.

    Outside of its hours its `closed_context`, whose own hours are not asked.
    """
    name = asked_for if asked_for in contexts else context_of(dialed, dialed_entries(contexts)) or default
    assert name is not None
    context = contexts[name]
    unknown = asked_for if asked_for and asked_for not in contexts else ""
    hours = context.hours
    if hours is not None and context.closed_context is not None and not hours.open_at(now):
        name = context.closed_context
    return Choice(name, contexts[name], hours, unknown)


def settings_for(context: Context, base: ConversationSettings, *, cut_off: bool = False) -> ConversationSettings:
    """`cut_off`: the caller had been talking already, and is told at once that somebody is there again."""
    return replace(
        base,
        greeting_mode=GreetingMode.AGENT if cut_off else context.greeting_mode,
        greeting_wait_s=context.greeting_wait_s,
        greeting_delay_s=0.0 if cut_off else context.greeting_delay_s,
        greeting_interruptible=context.interruptible_greeting,
        ask_after_s=context.silence_policy.ask_after_s,
        ask_times=context.silence_policy.ask_times,
        give_up_after_s=context.silence_policy.hang_up_after_s,
        max_call_s=context.max_call_s,
        time_warning_s=context.time_warning_s,
        max_failures=context.fallback.after_failures or base.max_failures,
    )


def phrases_for(texts: CallTexts, *, cut_off: bool = False) -> Phrases:
    return Phrases(
        greeting=texts.reconnected if cut_off else texts.greeting,
        disclosure=texts.disclosure,
        are_you_there=texts.are_you_there,
        farewell=texts.farewell,
        filler=texts.filler,
        apology=texts.apology,
        time_warning=texts.time_warning,
        time_up=texts.time_up,
        giving_up=texts.giving_up,
    )


def destination(context: Context | None, engines: Fallback) -> Fallback | None:
    """Where a caller goes whom nobody can serve any more; None: he is hung up on, as his context says."""
    if context is None or context.fallback.act == "dialplan":
        return engines
    if context.fallback.act == "hang_up":
        return None
    return Fallback(context.fallback.dialplan_context, context.fallback.extension, 1)
