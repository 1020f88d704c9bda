"""How messages become one text for a model: its own chat template, or a transcript of phone calls.

Models of a few hundred million parameters continue a transcript far better than they follow a chat
(docs/embedded-agent.md); a base model without a template can do nothing else. `TRANSCRIPT_TEMPLATE` is given to
llama.cpp in place of the model's own template, so everything after it (caching, fitting, tool-free chat) is the same.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Literal

from local_ai_server.prompts import Message

PromptForm = Literal["chat", "transcript"]

TRANSCRIPT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ message['content'] + '\\n\\nTranscript of the phone calls:\\n' }}"
    "{% elif message['role'] == 'user' %}{{ 'Caller: ' + message['content'] + '\\n' }}"
    "{% else %}{{ 'Agent: ' + message['content'] + '\\n' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Agent:' }}{% endif %}"
)
TRANSCRIPT_STOPS = ("\n", "Caller:", "Agent:")
"""Where the agent's line ends; without these the model goes on to write the caller's."""
_CONTROL_TOKENS: Final = re.compile(
    r"<[|\uff5c][^<>|\uff5c\n]{1,40}[|\uff5c]>"  # ChatML, Llama 3, Phi, Granite; DeepSeek's wide bars
    r"|</?s>|<(?:bos|eos|pad|unk|(?:start|end)_of_turn)>"  # Llama 2, Mistral; Gemma
    r"|\[/?(?:INST|SYSTEM_PROMPT)\]|<</?SYS>>"
)


def plain(messages: Sequence[Message], form: PromptForm) -> list[Message]:
    """`messages` with nothing in them that could end one and begin another.

    A template's control tokens are read as such wherever they stand in the prompt, so a caller's name or words could
    speak as the system. In a transcript a line end does the same.
    """
    return [{"role": m["role"], "content": _plain(m["content"], m["role"], form)} for m in messages]


def _plain(text: str, role: str, form: PromptForm) -> str:
    # A space and not nothing: the parts around it must not become a token either.
    text = _CONTROL_TOKENS.sub(" ", text)
    return " ".join(text.split()) if form == "transcript" and role != "system" else text
