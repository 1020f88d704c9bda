"""What clients send as recordings: every form that is read, and what is refused before it costs anything."""

import asyncio
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from sound_samples import RATE_HZ, compressed, pcm16, silence, speech_wav, tone, wav

from local_ai_server.errors import ServeError
from local_ai_server.http_api import recording as recording_module
from local_ai_server.http_api.recording import Recordings
from local_ai_server.http_api.speech_pieces import LONGEST_S, SHORTEST_S, PieceCutter
from voice_wire.audio import encode_alaw, encode_mulaw


def narrow(seconds=1.0, rate_hz=8000):
    return np.frombuffer(pcm16(tone(seconds, rate_hz)), "<i2")


def as_24_bit(samples):
    return (np.rint(samples * (2**23 - 1)).astype("<i4").view(np.uint8).reshape(-1, 4)[:, :3]).tobytes()


WAVS = {
    "8 bit": wav(np.rint(128 + 127 * tone(1)).astype(np.uint8).tobytes(), bits=8),
    "16 bit": wav(pcm16(tone(1))),
    "24 bit": wav(as_24_bit(tone(1)), bits=24),
    "32 bit": wav(np.rint(tone(1) * (2**31 - 1)).astype("<i4").tobytes(), bits=32),
    "float": wav(tone(1).astype("<f4").tobytes(), bits=32, tag=3),
    "double": wav(tone(1).astype("<f8").tobytes(), bits=64, tag=3),
    "mu-law": wav(encode_mulaw(narrow()), rate_hz=8000, bits=8, tag=7),
    "A-law": wav(encode_alaw(narrow()), rate_hz=8000, bits=8, tag=6),
    "extensible": wav(pcm16(tone(1)), extensible=True),
    "stereo": wav(pcm16(np.repeat(tone(1, 44_100), 2)), rate_hz=44_100, channels=2),
    "odd rate": wav(pcm16(tone(1, 11_025)), rate_hz=11_025),
    "high rate": wav(pcm16(tone(1, 96_000)), rate_hz=96_000),
    "of a stream": wav(pcm16(tone(1)), size=0xFFFFFFFF),
    "cut off": wav(pcm16(tone(1)), size=10**9),
    "with other chunks": wav(pcm16(tone(1)), before=b"LIST\x05\x00\x00\x00INFOx\x00"),
}
COMPRESSED = {
    "mp3": ("mp3", "libmp3lame", None),
    "ogg": ("ogg", "libopus", None),
    "flac": ("flac", "flac", None),
    "aac": ("adts", "aac", None),
    "m4a": ("mp4", "aac", None),
    "webm": ("webm", "libopus", None),
    "a film": ("mp4", "aac", "mpeg4"),
}


async def read(data, *, max_s=60.0):
    """Its samples within ±1."""
    with tempfile.TemporaryFile() as file:
        file.write(data)
        with await Recordings(max_s=max_s).read(file) as recording:
            return recording.read(0, recording.n_samples).astype(np.float64) / 32768


def check_tone(samples, *, seconds=1.0):
    assert samples.size / RATE_HZ == pytest.approx(seconds, abs=0.08)
    middle = samples[samples.size // 4 : samples.size * 3 // 4]
    assert np.sqrt(2 * np.mean(middle**2)) == pytest.approx(0.3, rel=0.1)
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(middle.size)))
    assert np.argmax(spectrum) * RATE_HZ / middle.size == pytest.approx(440, abs=4)


@pytest.mark.parametrize("form", WAVS)
async def test_every_kind_of_wav_sounds_as_it_was_made(form):
    check_tone(await read(WAVS[form]))


@pytest.mark.parametrize("form", COMPRESSED)
async def test_compressed_forms_sound_as_they_were_made(form):
    container, codec, video = COMPRESSED[form]
    check_tone(await read(compressed(tone(1, 48_000), container, codec, video=video)))


MP3 = compressed(tone(1, 48_000), "mp3", "libmp3lame")
REFUSED = {
    "nothing": (b"", "invalid_message", "empty"),
    "a text": (b"#EXTM3U\nhttp://127.0.0.1/secret\n", "not_supported", "no known sound format; send WAV, MP3"),
    "a playlist in disguise": (b"ID3" + bytes(20) + b"concat:/etc/passwd", "invalid_message", "cannot be decoded"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(100), "not_supported", "no known sound format"),
    "WAV without sound": (wav(b""), "invalid_message", "no sound in the WAV"),
    "WAV that ends early": (speech_wav()[:30], "invalid_message", "ends before its sound"),
    "WAV without a form": (b"RIFF\x00\x00\x00\x00WAVEdata\x10\x00\x00\x00" + bytes(16), "invalid_message", "no fmt"),
    "WAV of ADPCM": (wav(bytes(100), bits=4, tag=2), "invalid_message", "kind 2 with 4 bits"),
    "WAV of 99 channels": (wav(bytes(1000), channels=99), "invalid_message", "99 channels"),
    "WAV of no rate": (wav(bytes(1000), rate_hz=0), "invalid_message", "0 samples a second"),
    "broken Ogg": (b"OggS" + os.urandom(500), "invalid_message", "decoded|no sound"),
    "broken MP4": (b"\x00\x00\x00\x20ftypM4A " + os.urandom(500), "invalid_message", "decoded|no sound"),
    "a film without sound": (b"\x1aE\xdf\xa3" + bytes(400), "invalid_message", "decoded|no sound"),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_what_is_no_recording_says_what_would_be(what):
    data, code, message = REFUSED[what]
    with pytest.raises(ServeError, match=message) as refused:
        await read(data)
    assert refused.value.code == code


@pytest.mark.parametrize("data", [wav(pcm16(tone(3))), compressed(silence(3, 48_000), "flac", "flac")])
async def test_a_small_file_of_much_sound_is_refused(data):
    with pytest.raises(ServeError, match=r"longer than 2 s .LOCAL_HTTP_MAX_AUDIO") as refused:
        await read(data, max_s=2.0)
    assert refused.value.code == "message_too_large"


async def test_without_the_decoders_wav_is_read_and_the_others_say_how_they_are_had(monkeypatch):
    monkeypatch.setattr(recording_module, "find_spec", lambda name: None)
    check_tone(await read(speech_wav()))
    with pytest.raises(ServeError, match=r"parley\[formats\]"):
        await read(MP3)


def descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_every_file_is_given_back():
    await read(speech_wav()), await read(MP3)
    before = descriptors()
    for data in (speech_wav(), MP3, wav(b""), b"ID3" + bytes(50), b"x", wav(pcm16(tone(70)))):
        try:
            await read(data)
        except ServeError:
            pass
    assert descriptors() == before


async def test_a_decoder_whose_client_leaves_is_ended(monkeypatch):
    processes = []
    start = asyncio.create_subprocess_exec

    async def started(*args, **options):
        processes.append(await start("sleep", "60", **options))
        return processes[-1]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", started)
    reading = asyncio.create_task(read(MP3))
    async with asyncio.timeout(20):
        while not processes:
            await asyncio.sleep(0.01)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert processes[0].returncode == -9


async def test_the_decoder_is_told_no_secret(monkeypatch):
    seen = {}
    start = asyncio.create_subprocess_exec

    async def started(*args, **options):
        seen.update(options)
        return await start(*args, **options)

    monkeypatch.setenv("LOCAL_WS_AUTH_TOKEN", "secret")
    monkeypatch.setattr(asyncio, "create_subprocess_exec", started)
    await read(MP3)
    assert set(seen["env"]) <= {"LD_LIBRARY_PATH", "MALLOC_ARENA_MAX"}


def cut(samples, block=9973):
    cutter = PieceCutter(RATE_HZ)
    pcm = np.frombuffer(pcm16(samples), "<i2")
    pieces = [piece for at in range(0, pcm.size, block) for piece in cutter.feed(pcm[at : at + block])]
    return [*pieces, *cutter.end()]


def test_pieces_leave_nothing_out_and_are_cut_in_pauses():
    samples = np.concatenate([part for _ in range(8) for part in (tone(5.2), silence(0.4))])
    pieces = cut(samples)
    assert np.array_equal(np.concatenate([piece.pcm for piece in pieces]), np.frombuffer(pcm16(samples), "<i2"))
    assert [piece.at for piece in pieces] == list(np.cumsum([0, *(piece.pcm.size for piece in pieces[:-1])]))
    for piece in pieces[:-1]:
        assert SHORTEST_S <= piece.pcm.size / RATE_HZ <= LONGEST_S
        into_period = (piece.at + piece.pcm.size) / RATE_HZ % 5.6
        assert 5.2 <= into_period <= 5.6


def test_a_piece_knows_where_its_sound_is():
    (piece,) = cut(np.concatenate([silence(1), tone(2), silence(3)]))
    begin, end = piece.speech(RATE_HZ)
    assert (begin / RATE_HZ, end / RATE_HZ) == pytest.approx((1, 3), abs=0.021)
    (piece,) = cut(silence(3))
    assert piece.speech(RATE_HZ) is None


def test_sound_without_a_pause_is_cut_all_the_same():
    assert [round(piece.pcm.size / RATE_HZ) for piece in cut(tone(100))][:-1]
    assert all(piece.pcm.size <= LONGEST_S * RATE_HZ for piece in cut(tone(100)))
