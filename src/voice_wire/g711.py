"""G.711 companding, mu-law and A-law, by table.

The tables are built from the decision and output values of ITU-T G.711 (11/88), tables 1 and 2, on the 16-bit scale:
mu-law is defined on 14 bits (x 4), A-law on 13 bits (x 8). A sample exactly on a decision value goes the way of the
reference software, ITU-T G.191: away from zero when positive, towards zero when negative.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

Pcm = npt.NDArray[np.int16]
"""Linear samples: mono, one dimension, native byte order."""

_Codes = npt.NDArray[np.uint8]
_Levels = npt.NDArray[np.int32]

MULAW_SILENCE: Final = b"\xff"
ALAW_SILENCE: Final = b"\xd5"

_SIGN: Final = 0x80
_CODE: Final = np.arange(128, dtype=np.int32)
_SEGMENT: Final = _CODE >> 4
_STEP: Final = _CODE & 0x0F

# Codes 0..127 by magnitude. mu-law adds a bias of 33 (of 14 bits) so that each segment spans one octave.
_MULAW_OUTPUTS: Final[_Levels] = ((((_STEP << 1) + 33) << _SEGMENT) - 33) * 4
_MULAW_DECISIONS: Final[_Levels] = (((_STEP + 16) << (_SEGMENT + 1)) - 33) * 4
# A-law's segment 0 is linear, with the steps of segment 1.
_ALAW_SHIFT: Final = np.maximum(_SEGMENT - 1, 0)
_ALAW_STEP: Final = np.where(_SEGMENT > 0, _STEP + 16, _STEP)
_ALAW_OUTPUTS: Final[_Levels] = (16 * _ALAW_STEP + 8) << _ALAW_SHIFT
_ALAW_DECISIONS: Final[_Levels] = (16 * _ALAW_STEP) << _ALAW_SHIFT


def _decoder(outputs: _Levels, wire_mask: int) -> Pcm:
    """The sample of each of the 256 octets. `wire_mask` is what the law inverts on the line; bit 7 means positive."""
    octet = np.arange(256) ^ wire_mask
    level = outputs[octet & 0x7F]
    samples: Pcm = np.where(octet & _SIGN, level, -level).astype(np.int16)
    return samples


def _encoder(decisions: _Levels, wire_mask: int) -> _Codes:
    """The octet of each sample, indexed by the sample's two bytes read as unsigned."""
    sample = np.arange(65536, dtype=np.uint16).view(np.int16).astype(np.int32)
    magnitude = np.where(sample >= 0, sample, ~sample)
    code = np.searchsorted(decisions[1:], magnitude, side="right")
    return ((code | np.where(sample >= 0, _SIGN, 0)) ^ wire_mask).astype(np.uint8)


_MULAW_DECODE: Final = _decoder(_MULAW_OUTPUTS, 0x7F)
_MULAW_ENCODE: Final = _encoder(_MULAW_DECISIONS, 0x7F)
_ALAW_DECODE: Final = _decoder(_ALAW_OUTPUTS, 0x55)
_ALAW_ENCODE: Final = _encoder(_ALAW_DECISIONS, 0x55)


def decode_mulaw(octets: bytes | bytearray | memoryview) -> Pcm:
    """One sample per octet, in -32124..32124."""
    return _MULAW_DECODE[np.frombuffer(octets, np.uint8)]


def encode_mulaw(pcm: Pcm) -> bytes:
    """One octet per sample. `pcm` is int16; other types are refused with `TypeError`."""
    return _MULAW_ENCODE[_as_index(pcm)].tobytes()


def decode_alaw(octets: bytes | bytearray | memoryview) -> Pcm:
    """One sample per octet, in -32256..32256; A-law has no zero, its silence is +-8."""
    return _ALAW_DECODE[np.frombuffer(octets, np.uint8)]


def encode_alaw(pcm: Pcm) -> bytes:
    """One octet per sample. `pcm` is int16; other types are refused with `TypeError`."""
    return _ALAW_ENCODE[_as_index(pcm)].tobytes()


def _as_index(pcm: Pcm) -> npt.NDArray[np.uint16]:
    if pcm.dtype != np.int16:
        raise TypeError(f"G.711 encodes int16 samples, not {pcm.dtype}; scale and convert them first")
    return pcm.view(np.uint16)
