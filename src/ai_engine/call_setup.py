"""What a call takes from its context: which one it is, and the conversation's settings and sentences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from ai_engine.asterisk import channels
from ai_engine.asterisk.events import Channel
from ai_engine.asterisk.reconcile import Fallback
from ai_engine.briefing import Persona
from ai_engine.business_hours import BusinessHours
from ai_engine.call_services import CallServices, Outcome
from ai_engine.context_parts import set_answers
from ai_engine.contexts import CallTexts, Context, dialed_entries
from ai_engine.conversation.conversation import Conversation
from ai_engine.conversation.conversation_settings import ConversationSettings, GreetingMode, Phrases
from ai_engine.dialed_numbers import context_of
from ai_engine.media.transport import MediaTransport
from ai_engine.providers.provider import CallInfo
from ai_engine.tools.call_hooks import CallFacts, look_up_all
from ai_engine.tools.tool import ToolSpec
from voice_core.turn_words_by_language import turn_words
from voice_wire.audio import AudioFormat

log = structlog.get_logger(__name__)


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


async def ask_variables(services: CallServices, channel: Channel) -> dict[str, str]:
    """The channel's AI_* variables: those that choose, and those that some persona's texts name."""
    named = {name.upper() for context in services.contexts.values() for name in context.dialplan_variables}
    named |= {name.upper() for name in services.toolbox.dialplan_variables}
    return await channels.get_variables(services.ari, channel.id, (*channels.CALL_VARIABLES, *sorted(named)))


def choice_for(services: CallServices, channel: Channel, variables: Mapping[str, str], now: datetime) -> Choice:
    """What the channel's variables and the number dialled choose: the context, and perhaps another provider for it."""
    choice = choose_context(
        services.contexts, services.default_context, variables.get("AI_CONTEXT"), now, dialed=channel.exten
    )
    if choice.unknown:
        log.warning("unknown_context", context=choice.unknown, used=choice.name)
    provider = variables.get("AI_PROVIDER")
    if provider and provider not in services.factories:
        log.warning("unknown_provider", provider=provider, used=choice.context.provider)
    elif provider:
        choice = replace(choice, context=choice.context.model_copy(update={"provider": provider}))
    return choice


async def texts_for(
    services: CallServices,
    choice: Choice,
    facts: CallFacts,
    channel: Channel,
    *,
    variables: Mapping[str, str],
    now: datetime,
) -> CallTexts:
    """What is said in this call, with what its context has looked up before it."""
    context = choice.context
    asked = services.toolbox.before_call(context.before_call)
    return context.for_call(
        call_id=facts.call_id,
        now=now,
        hours=choice.hours,
        caller_name=channel.caller_name,
        caller_number=channel.caller_number,
        dialed_number=channel.exten,
        dialplan=variables,
        lookups=await look_up_all(asked, facts, deadline_s=context.before_call_s),
    )


def call_info(call_id: str, persona: Persona, output_format: AudioFormat, tools: tuple[ToolSpec, ...]) -> CallInfo:
    """What the provider is told. `output_format` is that of the agent's sound on the call's line."""
    return CallInfo(
        call_id=call_id,
        context=persona.name,
        system_prompt=persona.texts.system_prompt,
        language=persona.context.language,
        voice=persona.context.voice,
        output_format=output_format,
        variables=persona.texts.variables,
        tools=tools,
    )


def conversation_for(
    services: CallServices,
    context: Context,
    texts: CallTexts,
    transport: MediaTransport,
    *,
    owns_turn_taking: bool,
    cut_off: bool,
) -> Conversation:
    """As the context wants it. `owns_turn_taking` and `cut_off` as for `Conversation` and `settings_for`."""
    return Conversation(
        transport,
        settings=settings_for(context, services.conversation, cut_off=cut_off),
        phrases=phrases_for(texts, cut_off=cut_off),
        owns_turn_taking=owns_turn_taking,
        words=turn_words(context.language),
        set_answers=set_answers(context.set_phrases, context.language),
        keys=context.keypad.rules(),
    )


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


def goes_on_to(
    outcome: Outcome, context: Context | None, engines: Fallback, transfer_to: Fallback | None
) -> Fallback | None:
    """Where in the dialplan the caller of a call that ended like that goes on; None: nowhere."""
    if outcome in {Outcome.FELL_BACK, Outcome.FAILED}:
        return destination(context, engines)
    if outcome is Outcome.REFUSED:
        return engines
    return transfer_to if outcome is Outcome.TRANSFERRED else None
