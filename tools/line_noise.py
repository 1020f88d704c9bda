"""What a telephone line carries that is no speech, made from formulas: for tests and benchmarks of recognisers.

`SOUNDS` names each kind; `examples` gives them at several lengths and levels as 8 kHz samples that went through mu-law,
the same ones every time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from voice_wire.audio import Pcm, decode_mulaw, encode_mulaw

RATE_HZ: Final = 8000
Signal = npt.NDArray[np.float64]
Sound = Callable[[np.random.Generator, float], Signal]
"""(chance, seconds) → samples of any level."""

_DTMF_HZ: Final = ((697, 1209), (697, 1336), (697, 1477), (770, 1336), (852, 1209), (941, 1477))
_MAJOR: Final = (0, 4, 7, 12)
_MINOR: Final = (0, 3, 7, 12)


class Example(NamedTuple):
    name: str
    seconds: float
    dbfs: float
    """Of its loudest 20 ms, before mu-law."""
    pcm: Pcm


def _time(seconds: float) -> Signal:
    return np.arange(round(seconds * RATE_HZ)) / RATE_HZ


def _filtered(signal: Signal, low_hz: float, high_hz: float, slope: float = 0.0) -> Signal:
    """Only that band, falling by `slope` × 6 dB an octave."""
    spectrum = np.fft.rfft(signal)
    hz = np.fft.rfftfreq(signal.size, 1 / RATE_HZ)
    gain = np.where((hz >= low_hz) & (hz <= high_hz), np.maximum(hz, 20.0) ** -slope, 0)
    filtered: Signal = np.fft.irfft(spectrum * gain, signal.size)
    return filtered


def _noise(chance: np.random.Generator, seconds: float) -> Signal:
    return chance.normal(0, 1, round(seconds * RATE_HZ))


def white(chance: np.random.Generator, seconds: float) -> Signal:
    return _noise(chance, seconds)


def pink(chance: np.random.Generator, seconds: float) -> Signal:
    return _filtered(_noise(chance, seconds), 60, 3800, 0.5)


def street(chance: np.random.Generator, seconds: float) -> Signal:
    """Low noise that swells, as of passing cars."""
    swell = 0.4 + 0.6 * np.sin(np.pi * _time(seconds) / max(seconds, 2) + chance.uniform(0, 1)) ** 2
    return _filtered(_noise(chance, seconds), 60, 1200, 1.0) * swell


def hum(mains_hz: float) -> Sound:
    """Mains hum with odd and even harmonics up to 1 kHz, and a little hiss."""

    def sound(chance: np.random.Generator, seconds: float) -> Signal:
        t = _time(seconds)
        partials = [
            np.sin(2 * np.pi * mains_hz * k * t + chance.uniform(0, 7)) / k ** (0.7 if k % 2 else 1.2)
            for k in range(1, int(1000 / mains_hz))
        ]
        signal: Signal = np.sum(partials, axis=0) + 0.02 * _noise(chance, seconds)
        return signal

    return sound


def breathing(chance: np.random.Generator, seconds: float) -> Signal:
    """In and out, each half of four seconds, through a mouth's broad resonances."""
    phase = (_time(seconds) + chance.uniform(0, 4)) % 4
    envelope = np.where(phase < 1.2, np.sin(np.pi * phase / 1.2), 0) + np.where(
        (phase > 1.8) & (phase < 3.4), 0.7 * np.sin(np.pi * (phase - 1.8) / 1.6), 0
    )
    breath = _filtered(_noise(chance, seconds), 300, 1100) + 0.7 * _filtered(_noise(chance, seconds), 1300, 2600)
    signal: Signal = breath * np.maximum(envelope, 0) ** 1.5 + 0.005 * _noise(chance, seconds)
    return signal


def cough(chance: np.random.Generator, seconds: float) -> Signal:
    signal = 0.002 * _noise(chance, seconds)
    for start_s in np.arange(0.05, max(0.06, seconds - 0.3), 0.45 if seconds < 2 else 1.3):
        burst = _filtered(_noise(chance, 0.28), 250, 2800, 0.4)
        t = _time(0.28)
        burst *= np.exp(-t / 0.06) + 0.4 * np.exp(-(((t - 0.17) / 0.04) ** 2))
        at = round(start_s * RATE_HZ)
        signal[at : at + burst.size] += burst[: signal.size - at] / np.abs(burst).max()
    return signal


def dtmf(chance: np.random.Generator, seconds: float) -> Signal:
    """Keys of 90 ms, 110 ms apart."""
    t = _time(seconds)
    signal = 0.003 * _noise(chance, seconds)
    for i in range(int(seconds / 0.2) + 1):
        low, high = _DTMF_HZ[int(chance.integers(len(_DTMF_HZ)))]
        on = (t >= 0.2 * i) & (t < 0.2 * i + 0.09)
        signal += on * (np.sin(2 * np.pi * low * t) + np.sin(2 * np.pi * high * t))
    return signal


def cadence(*hz: float, on_s: float, off_s: float) -> Sound:
    """Call progress tones."""

    def sound(chance: np.random.Generator, seconds: float) -> Signal:
        t = _time(seconds)
        gate = (t % (on_s + off_s)) < on_s
        signal: Signal = gate * np.sum([np.sin(2 * np.pi * f * t) for f in hz], axis=0)
        return signal + 0.003 * _noise(chance, seconds)

    return sound


def special_information(chance: np.random.Generator, seconds: float) -> Signal:
    """The three rising tones before "the number you have dialled", and again after a second."""
    t = _time(seconds)
    step = ((t % 2.0) / 0.33).astype(int)
    hz = np.choose(np.minimum(step, 3), (950.0, 1400.0, 1800.0, 0.0))
    return np.where(step < 3, np.sin(2 * np.pi * hz * t), 0) + 0.003 * _noise(chance, seconds)


def fax(chance: np.random.Generator, seconds: float) -> Signal:
    """The calling tone: 1100 Hz, half a second on, three off; the answering one, 2100 Hz, with it."""
    t = _time(seconds)
    return np.where(t % 3.5 < 0.5, np.sin(2 * np.pi * 1100 * t), 0) + np.where(
        t % 3.5 > 1.0, np.sin(2 * np.pi * 2100 * t), 0
    )


def clicks(chance: np.random.Generator, seconds: float) -> Signal:
    signal = 0.003 * _noise(chance, seconds)
    for at in chance.integers(0, signal.size, max(1, int(seconds * 2))):
        width = int(chance.integers(2, 12))
        signal[at : at + width] += chance.choice((-1, 1))
    return signal


def crackle(chance: np.random.Generator, seconds: float) -> Signal:
    """A bad contact: many small spikes of all sizes."""
    size = round(seconds * RATE_HZ)
    spikes = (chance.random(size) < 0.01) * chance.standard_cauchy(size).clip(-8, 8)
    return np.convolve(spikes, (1, -0.6, 0.3), "same") + 0.02 * chance.normal(0, 1, size)


def keyboard(chance: np.random.Generator, seconds: float) -> Signal:
    signal = 0.004 * _noise(chance, seconds)
    at_s = 0.05
    while at_s < seconds - 0.05:
        key = _filtered(_noise(chance, 0.03), 900, 3600) * np.exp(-_time(0.03) / 0.006)
        at = round(at_s * RATE_HZ)
        signal[at : at + key.size] += key[: signal.size - at] * chance.uniform(0.4, 1)
        at_s += chance.uniform(0.08, 0.3)
    return signal


def music(chords: Sequence[tuple[float, Sequence[int]]], beat_s: float, *, melody: bool = True) -> Sound:
    """Plucked chords (root in Hz, semitones) one a beat, with overtones that die away, and a tune above."""

    def sound(chance: np.random.Generator, seconds: float) -> Signal:
        signal = np.zeros(round(seconds * RATE_HZ))
        for beat in range(int(seconds / beat_s) + 1):
            root, steps = chords[beat % len(chords)]
            notes = [(step, 1.0, 0.0) for step in steps]
            if melody:
                notes += [(12 + int(chance.choice((0, 2, 4, 7, 9))), 0.9, half * beat_s / 2) for half in (0, 1)]
            for step, gain, later_s in notes:
                at = round((beat * beat_s + later_s) * RATE_HZ)
                t = _time(min(2 * beat_s, 3.0))
                hz = root * 2 ** (step / 12)
                note = sum(
                    np.sin(2 * np.pi * hz * k * t) * np.exp(-t * (1.2 + 0.8 * k)) / k
                    for k in range(1, 7)
                    if hz * k < RATE_HZ / 2
                )
                piece = np.asarray(note)[: max(0, signal.size - at)]
                signal[at : at + piece.size] += gain * piece
        return signal + 0.002 * _noise(chance, seconds)

    return sound


def drone(chance: np.random.Generator, seconds: float) -> Signal:
    """Strings held long, with vibrato: the music nearest to a voice."""
    t = _time(seconds)
    chord = int(chance.integers(3))
    total = np.zeros(t.size)
    for step in (0, 4 if chord else 3, 7):
        hz = 196 * 2 ** ((step + 5 * chord) / 12)
        phase = 2 * np.pi * hz * t + 0.25 * np.sin(2 * np.pi * 5.5 * t + step)
        total += sum(np.sin(k * phase) / k for k in range(1, 10))
    return total * (0.7 + 0.3 * np.sin(2 * np.pi * 0.4 * t)) + 0.002 * _noise(chance, seconds)


def rumble(chance: np.random.Generator, seconds: float) -> Signal:
    """A handset that is put down, and wind."""
    gusts = np.abs(_filtered(_noise(chance, seconds), 0.5, 3)) if seconds > 2 else 1.0
    return _filtered(_noise(chance, seconds), 40, 400, 1.2) * gusts


SOUNDS: Final[dict[str, Sound]] = {
    "white noise": white,
    "pink noise": pink,
    "street": street,
    "rumble": rumble,
    "hum 50 Hz": hum(50),
    "hum 60 Hz": hum(60),
    "breathing": breathing,
    "cough": cough,
    "DTMF": dtmf,
    "ringback US": cadence(440, 480, on_s=2, off_s=4),
    "ringback DE": cadence(425, on_s=1, off_s=4),
    "ringback UK": cadence(400, 450, on_s=0.4, off_s=0.2),
    "busy US": cadence(480, 620, on_s=0.5, off_s=0.5),
    "busy DE": cadence(425, on_s=0.48, off_s=0.48),
    "dial tone": cadence(350, 440, on_s=1, off_s=0),
    "special information": special_information,
    "fax": fax,
    "clicks": clicks,
    "crackle": crackle,
    "keyboard": keyboard,
    "music major": music(((261.6, _MAJOR), (349.2, _MAJOR), (392.0, _MAJOR), (261.6, _MAJOR)), 0.5),
    "music minor": music(((220.0, _MINOR), (293.7, _MINOR), (329.6, _MAJOR)), 0.75),
    "music slow": music(((130.8, _MAJOR), (174.6, _MAJOR)), 1.5, melody=False),
    "music fast": music(((196.0, _MAJOR), (220.0, _MINOR), (261.6, _MAJOR), (293.7, _MAJOR)), 0.25),
    "strings": drone,
}
LENGTHS_S: Final = (0.3, 1.0, 3.0, 6.0, 12.0)
LEVELS_DBFS: Final = (-60.0, -45.0, -30.0, -15.0)


def example(name: str, seconds: float, dbfs: float) -> Example:
    """One sound; digital silence is called `silence` and takes no level."""
    if name == "silence":
        return Example(name, seconds, -np.inf, np.zeros(round(seconds * RATE_HZ), np.int16))
    chance = np.random.default_rng([*name.encode(), round(10 * seconds), round(-dbfs)])
    signal = SOUNDS[name](chance, seconds)
    frame = RATE_HZ // 50
    power = np.mean(signal[: signal.size // frame * frame].reshape(-1, frame) ** 2, axis=1)
    scaled = signal * (10 ** (dbfs / 20) / max(float(np.sqrt(power.max())), 1e-9))
    return Example(name, seconds, dbfs, decode_mulaw(encode_mulaw(to_pcm(scaled))))


def to_pcm(signal: Signal) -> Pcm:
    """16-bit samples of a signal within ±1; louder is clipped."""
    return np.clip(np.rint(signal * 32767), -32768, 32767).astype(np.int16)


def examples(
    names: Sequence[str] = ("silence", *SOUNDS),
    lengths_s: Sequence[float] = LENGTHS_S,
    levels_dbfs: Sequence[float] = LEVELS_DBFS,
) -> Iterator[Example]:
    """Every sound at every length and level."""
    for name in names:
        for seconds in lengths_s:
            for dbfs in levels_dbfs[:1] if name == "silence" else levels_dbfs:
                yield example(name, seconds, dbfs)
