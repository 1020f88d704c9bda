"""The conversation of a call as it happens, from the engine's live events: printed, and its answers counted."""

from __future__ import annotations

import json
from typing import Any

import aiohttp

from tools.steps import say

STAGES = {
    "end_of_turn": "end of turn",
    "stt_done": "STT",
    "llm_first_token": "LLM first token",
    "first_phrase": "first phrase",
    "tts_first_audio": "TTS",
    "first_packet": "first packet",
}
"""Stage of a turn's timeline → what it is called here."""

SAID = "said"
"""The source of what no question was answered with: greetings, apologies, farewells."""


class LiveConversation:
    """Prints turns as they come. `answers` counts what the agent has answered, be it from its facts or by the LLM."""

    def __init__(self, engine_url: str, token: str = "") -> None:
        self._url = f"{engine_url}/events"
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.answers = 0

    async def follow(self) -> None:
        """Until the engine ends or this is cancelled. Raises `aiohttp.ClientError` when it breaks off."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5.0)
        async with (
            aiohttp.ClientSession(timeout=timeout, headers=self._headers, raise_for_status=True) as client,
            client.get(self._url) as response,
        ):
            async for line in response.content:
                if line.startswith(b"data: "):
                    self.note(json.loads(line[6:]))

    def note(self, event: dict[str, Any]) -> None:
        """One live event."""
        if event["type"] == "agent_turn" and event["source"] not in ("", SAID) and event["text"]:
            self.answers += 1
        if (line := describe(event)) is not None:
            say(line)


def describe(event: dict[str, Any]) -> str | None:
    """One live event as a line to print; None for what is of no interest here."""
    match event["type"]:
        case "call_started":
            return f"  call      {event.get('caller_number') or 'unknown caller'} → context {event['context']}"
        case "caller_turn":
            return f"  caller    {event['text']}"
        case "agent_turn":
            spoken = event["text"] or "(nothing was heard)"
            line = f"  agent     {spoken}{'  … interrupted' if event['interrupted'] else ''}   [{event['source']}]"
            split = describe_timeline(event["timeline_ms"])
            return f"{line}\n            {split}" if split else line
        case "call_ended":
            return f"  call      ended: {event['outcome']}"
    return None


def describe_timeline(timeline_ms: dict[str, float]) -> str:
    """When each stage was done, counted from the caller's last sound, in the order in which they were.

    The answer is prepared while the end of the turn is still being decided, so that it comes anywhere in between.
    """
    reached = [(timeline_ms[stage], name) for stage, name in STAGES.items() if stage in timeline_ms]
    reached.sort(key=lambda item: item[0])
    split = " · ".join(f"{name} {after_ms:.0f} ms" for after_ms, name in reached)
    return f"after the caller's last sound: {split}" if split else ""
