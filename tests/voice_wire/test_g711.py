"""G.711 against a bit-by-bit reading of the reference software's description (ITU-T G.191, ulaw/alaw compress)."""

from __future__ import annotations

import time

import numpy as np
import pytest

from voice_wire.g711 import decode_alaw, decode_mulaw, encode_alaw, encode_mulaw

EVERY_SAMPLE = np.arange(-32768, 32768).astype(np.int16)
EVERY_OCTET = bytes(range(256))


def mulaw_octet(sample: int) -> int:
    magnitude = ((~sample) >> 2 if sample < 0 else sample >> 2) + 33
    magnitude = min(magnitude, 0x1FFF)
    segment = magnitude.bit_length() - 6
    step = (magnitude >> (segment + 1)) & 0x0F
    return (0x80 if sample >= 0 else 0) | ((segment << 4 | step) ^ 0x7F)


def mulaw_sample(octet: int) -> int:
    sign = 1 if octet & 0x80 else -1
    code = ~octet & 0x7F
    return sign * (((((code & 0x0F) * 2 + 33) << (code >> 4)) - 33) * 4)


def alaw_octet(sample: int) -> int:
    magnitude = ((~sample) if sample < 0 else sample) >> 4
    segment = 0
    while magnitude > 31:
        magnitude >>= 1
        segment += 1
    code = magnitude if segment == 0 else (segment << 4) + magnitude
    return (code | (0x80 if sample >= 0 else 0)) ^ 0x55


def alaw_sample(octet: int) -> int:
    code = (octet ^ 0x55) & 0x7F
    segment, value = code >> 4, (code & 0x0F) * 16 + 8
    if segment:
        value = (value + 256) << (segment - 1)
    return value if octet & 0x80 else -value


@pytest.mark.parametrize(
    ("encode", "decode", "octet", "sample"),
    [(encode_mulaw, decode_mulaw, mulaw_octet, mulaw_sample), (encode_alaw, decode_alaw, alaw_octet, alaw_sample)],
    ids=["mulaw", "alaw"],
)
class TestBothLaws:
    def test_every_sample_is_encoded_as_the_reference_does(self, encode, decode, octet, sample):
        assert list(encode(EVERY_SAMPLE)) == [octet(int(s)) for s in EVERY_SAMPLE]

    def test_every_octet_is_decoded_as_the_reference_does(self, encode, decode, octet, sample):
        assert decode(EVERY_OCTET).tolist() == [sample(o) for o in EVERY_OCTET]

    def test_a_decoded_octet_encodes_to_itself(self, encode, decode, octet, sample):
        negative_zero = 0x7F  # mu-law has two zeros; the positive one is sent
        for o, again in zip(EVERY_OCTET, encode(decode(EVERY_OCTET)), strict=True):
            assert again == o or (encode is encode_mulaw and o == negative_zero and again == 0xFF)

    def test_louder_never_encodes_quieter(self, encode, decode, octet, sample):
        assert (np.diff(decode(encode(EVERY_SAMPLE)).astype(int)) >= 0).all()

    def test_any_buffer_and_any_length_is_taken(self, encode, decode, octet, sample):
        assert decode(b"").size == 0
        assert encode(np.empty(0, np.int16)) == b""
        assert (decode(memoryview(bytearray(EVERY_OCTET))) == decode(EVERY_OCTET)).all()
        assert encode(EVERY_SAMPLE[::7]) == bytes(encode(EVERY_SAMPLE)[::7])

    def test_other_sample_types_are_refused(self, encode, decode, octet, sample):
        with pytest.raises(TypeError, match="int16"):
            encode(np.zeros(160, np.float32))

    def test_a_frame_takes_microseconds(self, encode, decode, octet, sample):
        frame = EVERY_OCTET[:160]
        pcm = decode(frame)
        best_s = {"decode": 1.0, "encode": 1.0}
        for _ in range(20):
            for name, call in (("decode", lambda: decode(frame)), ("encode", lambda: encode(pcm))):
                began = time.perf_counter()
                for _ in range(100):
                    call()
                best_s[name] = min(best_s[name], (time.perf_counter() - began) / 100)
        assert max(best_s.values()) < 10e-6, best_s
