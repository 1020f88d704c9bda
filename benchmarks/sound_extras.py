"""What recording, levelling and comfort noise cost, in CPU for a second of a call.

`python -m benchmarks.sound_extras [--seconds 600] [--short]`

The parts run by themselves, as fast as they can, on one thread: a call whose caller talks all the time and whose agent
talks half of it, mu-law. `tick` is what the media thread pays for a recording, `write` what the recorder's does, files
and headers included but for waiting for the disk. Levelling is paid on the control loop, while the agent speaks. Prints
a table and one JSON line (milliseconds of CPU for a second of sound).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from ai_engine.media.agent_audio import AgentAudioConverter
from ai_engine.media.agent_level import VoiceLevels
from ai_engine.media.comfort_noise import ComfortNoise
from ai_engine.media.recorder import Recorder
from ai_engine.media.recording_folder import RecordingFolder
from ai_engine.providers.provider import AgentAudio, AgentAudioDone
from voice_wire.audio import MULAW_8K, AudioFormat, encode

FRAME_S = 0.02
PCM_22K = AudioFormat("linear16", 22050)


def noise(seconds: float, rate_hz: int) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    return np.random.default_rng(1).normal(0, 3000, round(seconds * rate_hz)).astype(np.int16)


def recording_ms(folder: Path, seconds: float) -> tuple[float, float]:
    """CPU for a second of a call: on the media thread, and on the recorder's."""
    recorder = Recorder(RecordingFolder(folder), sync_s=0)
    recording = recorder.recording("benchmark", 8000, MULAW_8K)
    caller, agent = noise(FRAME_S, 8000).tobytes(), encode(noise(FRAME_S, 8000), "mulaw")
    tick_s = write_s = now = 0.0
    for second in range(round(seconds)):
        spoken = agent if second % 2 else None
        began = time.thread_time()
        for _ in range(50):
            recording.tick(caller, spoken, now)
            now += FRAME_S
        ticked = time.thread_time()
        recorder.work_off()
        tick_s += ticked - began
        write_s += time.thread_time() - ticked
    recording.end()
    recorder.work_off()
    return 1000 * tick_s / seconds, 1000 * write_s / seconds


def converting_ms(seconds: float, target_dbfs: float | None) -> float:
    """CPU for a second of an agent's speech at 22.05 kHz, in chunks of 100 ms, on its way to mu-law."""
    converter = AgentAudioConverter(MULAW_8K, VoiceLevels(target_dbfs).of("benchmark", ""))
    chunk = noise(0.1, 22050).tobytes()
    began = time.thread_time()
    for turn in range(max(1, round(seconds / 5))):
        for _ in range(50):
            converter.convert(AgentAudio(turn, 1, chunk, PCM_22K))
        converter.end(AgentAudioDone(turn, 1))
    return 1000 * (time.thread_time() - began) / (5 * max(1, round(seconds / 5)))


def comfort_ms(seconds: float) -> float:
    """CPU for a second of silence in which noise is sent instead."""
    quiet = ComfortNoise(MULAW_8K, -65.0)
    ticks = round(seconds * 50)
    began = time.thread_time()
    for _ in range(ticks):
        quiet.frame()
    return 1000 * (time.thread_time() - began) / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0, help="of a call, for each part")
    parser.add_argument("--short", action="store_true", help="only see that it runs")
    args = parser.parse_args()
    seconds = 10.0 if args.short else args.seconds
    with tempfile.TemporaryDirectory() as folder:
        tick, write = recording_ms(Path(folder), seconds)
    plain, levelled = converting_ms(seconds, None), converting_ms(seconds, -20.0)
    figures = {
        "recording, media thread": tick,
        "recording, its own thread": write,
        "agent's sound 22.05 kHz to mu-law": plain,
        "the same, levelled": levelled,
        "comfort noise": comfort_ms(seconds),
    }
    for part, milliseconds in figures.items():
        sys.stdout.write(f"{part:36}{milliseconds:8.3f} ms per second of sound\n")
    rounded = {part: round(milliseconds, 4) for part, milliseconds in figures.items()}
    sys.stdout.write(json.dumps({"benchmark": "sound_extras", "seconds": seconds, "cpu_ms_per_s": rounded}) + "\n")


if __name__ == "__main__":
    main()
