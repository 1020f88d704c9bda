"""Pauses inside a question do not cut it off: P1 on virtual time, with a recogniser that marks fragments too."""

from __future__ import annotations

import random

import pytest

from tests.ai_engine.conversation.virtual_call import ScriptedProvider, VirtualCall

QUESTIONS = [
    "What are your opening hours on Sunday?",
    "How much is a haircut for my son?",
    "Can you tell me if you take walk ins?",
    "I would like to book a table for two people.",
    "Do you have any appointments left for tomorrow afternoon?",
    "Hello I am calling about the price of a repair.",
    "Who will be cutting my hair on Friday?",
    "Is there parking near your shop?",
    "I need to cancel my appointment on Monday please.",
    "Where exactly are you located in the city?",
]
TURNS = 100


class FragmentMarkingCall(VirtualCall):
    """Its STT puts a mark behind whatever it is given, as Whisper does."""

    def understood(self, turn: int) -> str:
        text = super().understood(turn)
        if text and text[-1] not in ".?!":
            text += "?" if text.split()[0] in {"What", "How", "Can", "Do", "Who", "Is", "Where"} else "."
        return text


@pytest.mark.parametrize(("kind", "limit"), [(VirtualCall, 0), (FragmentMarkingCall, 2)])
def test_pauses_of_200_to_700_ms_inside_a_question_do_not_end_it(kind, limit):
    rng = random.Random(3)
    cut = []
    for _ in range(TURNS):
        words = rng.choice(QUESTIONS).split()
        at = rng.randint(1, len(words) - 2)
        pause_s = rng.uniform(0.2, 0.7)
        script = f"pause 0.3\nsay {' '.join(words[:at])}\npause {pause_s:.2f}\nsay {' '.join(words[at:])}\nuntil quiet"
        call = kind(script, provider=ScriptedProvider(stt_s=0.2)).run()
        if [line for line in call.history() if line.startswith("user")] != [f"user: {' '.join(words)}"]:
            cut.append((words[:at], round(pause_s, 2)))
    assert len(cut) <= limit, cut
