"""How much one saying of a sentence differs from the next."""

import pytest
from voices_under_test import installed, spec_of, spoken, working

from local_ai_server.backends.backend import Machine
from local_ai_server.backends.tts import piper


@pytest.mark.models
@pytest.mark.parametrize(("variation", "alike"), [(0.0, True), (1.0, False)])
async def test_a_sentence_sounds_the_same_each_time_or_not(variation, alike):
    voice = installed(piper.BACKEND)
    plan = voice.plan(piper.Options(variation=variation), Machine())
    async with working(spec_of(voice, plan)) as speaker:
        first, second = [
            b"".join(audio for _, audio in (await spoken(speaker, "The door is painted yellow."))[0]) for _ in range(2)
        ]
    assert (first == second) is alike
