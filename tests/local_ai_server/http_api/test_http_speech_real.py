"""Speech over HTTP by the embedded models, through OpenAI's own client: what is said comes back as text."""

import re

import pytest
from chat_server import talking
from openai import BadRequestError

from local_ai_server.catalog import ModelMissing, find_model
from local_ai_server.settings import read_settings
from local_ai_server.switchboard import Switchboard

pytestmark = pytest.mark.models
SENTENCE = "Good morning, I would like to make an appointment for Tuesday."
SECOND = "The weather is lovely today and the garden is full of flowers."


@pytest.fixture
async def client(tmp_path):
    try:
        for name in ("whisper-tiny.en", "en_US-joe-medium"):
            find_model(name)
    except ModelMissing as missing:
        pytest.skip(str(missing))
    environment = {"ENABLE_LLM": "false", "SERVICE_TIMEOUT": "110"}
    switchboard = Switchboard.from_settings(read_settings(tmp_path / "no.env", environment))
    await switchboard.start()
    async with talking(switchboard) as client:
        yield client
    await switchboard.stop()


def words(text):
    return re.findall(r"[a-z]+", text.lower())


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
async def test_what_is_said_is_understood(client):
    async def speech(text, form):
        answer = await client.audio.speech.create(model="tts", voice="alloy", input=text, response_format=form)
        return (f"speech.{form}", answer.content)

    for form in ("wav", "mp3"):
        file = await speech(SENTENCE, form)
        heard = await client.audio.transcriptions.create(model="stt", file=file)
        assert words(heard.text) == words(SENTENCE), form

    # Longer than one piece: nothing is lost at the cuts, and the times are those of the recording.
    text = " ".join([SENTENCE, SECOND] * 3)
    long = await speech(text, "wav")
    events = await client.audio.transcriptions.create(model="stt", file=long, stream=True)
    pieces = [event.delta async for event in events if event.type == "transcript.text.delta"]
    assert len(pieces) >= 2
    assert words("".join(pieces)) == words(text)
    verbose = await client.audio.transcriptions.create(model="stt", file=long, response_format="verbose_json")
    times = [(segment.start, segment.end) for segment in verbose.segments]
    assert times == sorted(times)
    assert times[0][0] < 1 and verbose.duration - 1 < times[-1][1] <= verbose.duration
    assert (verbose.language, verbose.task) == ("en", "transcribe")

    with pytest.raises(BadRequestError, match="multilingual"):
        await client.audio.translations.create(model="stt", file=file)
    with pytest.raises(BadRequestError, match="understands en only"):
        await client.audio.transcriptions.create(model="stt", file=file, language="de")
