"""Run as a process of its own: a file of compressed sound on stdin becomes PCM16, 16 kHz, mono, on stdout.

`python -I decode_sound.py FORMAT MAX_SAMPLES CPU_SECONDS`. FFmpeg reads what strangers send here, so a crash, a bomb or
worse meets a process that has no secrets, no other files, and limits of memory, time and output.
"""

from __future__ import annotations

import os
import resource
import sys

RATE_HZ = 16_000
TOO_LONG, NO_SOUND, UNREADABLE = 3, 4, 5
"""Exit statuses."""
_MEMORY_BYTES = 1536 * 1024 * 1024
"""Address space: FFmpeg's libraries alone map some 300 MB."""


def main(container_format: str, max_samples: int, cpu_seconds: int) -> int:
    """What the exit status is."""
    # Before the limits: from then on no file is opened, and PyAV imports these when it meets such a stream.
    import av  # noqa: PLC0415
    import av.error  # noqa: PLC0415
    import av.subtitles.stream  # noqa: PLC0415
    import av.video.stream  # noqa: PLC0415

    limits = {
        resource.RLIMIT_AS: _MEMORY_BYTES,
        resource.RLIMIT_CPU: cpu_seconds,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 2 * max_samples + 65_536,
        resource.RLIMIT_NOFILE: 3,
    }
    for what, limit in limits.items():
        resource.setrlimit(what, (limit, limit))
    os.nice(10)
    written = 0
    try:
        with av.open(sys.stdin.buffer, "r", format=container_format, metadata_errors="ignore") as container:
            if not container.streams.audio:
                return NO_SOUND
            resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE_HZ)
            for packet in container.demux(container.streams.audio[0]):
                try:
                    frames = packet.decode()
                except av.error.InvalidDataError:  # damaged here; the next may be whole
                    continue
                # The empty packet at the end flushes the decoder, None the resampler.
                for frame in (*frames, *([None] if packet.size == 0 else [])):
                    for piece in resampler.resample(frame):
                        written += piece.samples
                        if written > max_samples:
                            return TOO_LONG
                        sys.stdout.buffer.write(memoryview(piece.planes[0])[: 2 * piece.samples])
    except av.error.FFmpegError:
        return UNREADABLE
    sys.stdout.buffer.flush()
    return 0 if written else NO_SOUND


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
