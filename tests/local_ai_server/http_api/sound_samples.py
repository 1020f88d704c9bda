"""Sounds for tests: words of tone with pauses between them, in any form."""

import io
import struct

import numpy as np

RATE_HZ = 16_000


def tone(seconds, rate_hz=RATE_HZ, amplitude=0.3):
    return amplitude * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate_hz)) / rate_hz)


def silence(seconds, rate_hz=RATE_HZ):
    return np.zeros(round(seconds * rate_hz))


def pcm16(samples):
    return np.rint(samples * 32767).astype("<i2").tobytes()


def wav(data, *, rate_hz=RATE_HZ, channels=1, bits=16, tag=1, size=None, before=b"", extensible=False):
    """A file of those bytes; `before`: further chunks."""
    form = struct.pack("<HHIIHH", tag, channels, rate_hz, rate_hz * channels * bits // 8, channels * bits // 8, bits)
    if extensible:
        form = struct.pack("<H", 0xFFFE) + form[2:] + struct.pack("<HHIH", 22, bits, 0, tag) + bytes(14)
    body = before + b"fmt " + struct.pack("<I", len(form)) + form
    body += b"data" + struct.pack("<I", len(data) if size is None else size) + data
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body


def speech_wav(seconds=1.0):
    return wav(pcm16(tone(seconds)))


def compressed(samples, container, codec, *, rate_hz=48_000, video=None):
    """A file that PyAV writes, stereo, with a moving picture beside the sound where `video` names a codec."""
    import av

    target = io.BytesIO()
    with av.open(target, "w", format=container) as file:
        sound = file.add_stream(codec, rate=rate_hz)
        sound.layout = "stereo"
        if video:
            picture = file.add_stream(video, rate=5)
            picture.width = picture.height = 64
            picture.pix_fmt = "yuv420p"
            for _ in range(5):
                file.mux(picture.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")))
            file.mux(picture.encode(None))
        pcm = np.repeat(np.frombuffer(pcm16(samples), "<i2"), 2).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(pcm, format="s16", layout="stereo")
        frame.sample_rate = rate_hz
        file.mux(sound.encode(frame))
        file.mux(sound.encode(None))
    return target.getvalue()
