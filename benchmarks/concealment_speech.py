"""Speech to lose packets of: what voices there are on this machine, spoken by their workers or recorded.

Piper's Joe is always there; three voices of Kokoro where its weights are; and a human being, Allison, who recorded
Asterisk's prompts, where tools/pbx has installed them (telephone band only).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from local_ai_server.backends.backend import Backend, BackendUnusable, Machine
from local_ai_server.backends.options import BackendOptions
from local_ai_server.backends.tts import kokoro, piper
from model_worker.link import WorkerLink
from model_worker.spec import WorkerSpec
from tools.stack import PROJECT
from voice_wire.audio import Pcm

SENTENCES: Final = (
    "We are open from nine to five, Monday to Friday, and our address is twelve High Street.",
    "Could you tell me how much a new chain would cost, and whether you have one in stock?",
    "My name is Margaret Willoughby, and I would like to move my appointment to next Thursday morning.",
    "The invoice number is four seven one nine, and the amount was thirty pounds too high.",
    "Yes, please. I will be there at half past six, unless the train is late again.",
)
PROMPTS: Final = ("demo-congrats", "conf-adminmenu", "priv-callee-options")
PROMPT_SECONDS: Final = 20
_ALLISON: Final = PROJECT / "var" / "pbx" / "root" / "usr" / "share" / "asterisk" / "sounds" / "en_US_f_Allison"
_PEAK: Final = 12000
_PAUSE_S: Final = 0.3


VOICES: Final = ("joe", "af_heart", "am_michael", "bf_emma", "Allison")


async def material(rate_hz: int, *, short: bool = False, among: Sequence[str] = VOICES) -> dict[str, Pcm]:
    """The speech of each voice `among` `VOICES`, about half a minute of it (`short`: one sentence of one voice)."""
    wanted: list[tuple[str, Backend, BackendOptions]] = [("joe", piper.BACKEND, piper.Options(threads=2))]
    if not short:
        voices = ("af_heart", "am_michael", "bf_emma")
        wanted += [(voice, kokoro.BACKEND, kokoro.Options(mode="onnx", voice=voice)) for voice in voices]
    spoken: dict[str, Pcm] = {}
    for name, backend, options in wanted:
        if name not in among:
            continue
        try:
            spoken[name] = await _speak(backend, options, SENTENCES[:1] if short else SENTENCES, rate_hz)
        except BackendUnusable as error:
            print(f"{name}: left out: {error}")
    if rate_hz == 8000 and not short and "Allison" in among and _ALLISON.is_dir():
        prompts = list(_prompts(_ALLISON))
        spoken["Allison"] = _levelled(np.concatenate(prompts))[: PROMPT_SECONDS * rate_hz]
    return spoken


async def _speak(backend: Backend, options: BackendOptions, sentences: tuple[str, ...], rate_hz: int) -> Pcm:
    if reason := backend.missing():
        raise BackendUnusable(reason)
    plan = backend.plan(options, Machine())
    spec = WorkerSpec(model=backend.model, settings=plan.load, env=plan.env, threads=plan.threads, load_deadline_s=120)
    link = WorkerLink(spec)
    await link.start()
    pieces: list[Pcm] = []
    try:
        for sentence in sentences:
            wanted = {"text": sentence, "encoding": "linear16", "sample_rate_hz": rate_hz}
            async with link.call("speak", wanted) as answers:
                spoken = b"".join([bytes(audio) async for _, audio in answers])
            pieces += [np.frombuffer(spoken, np.int16), np.zeros(int(_PAUSE_S * rate_hz), np.int16)]
    finally:
        await link.stop()
    return _levelled(np.concatenate(pieces))


def _prompts(folder: Path) -> Iterator[Pcm]:
    import av  # noqa: PLC0415 - comes with faster-whisper

    for name in PROMPTS:
        with av.open(str(folder / f"{name}.gsm"), format="gsm") as recording:
            for frame in recording.decode(audio=0):
                yield np.asarray(frame.to_ndarray().reshape(-1), np.int16)


def _levelled(pcm: Pcm) -> Pcm:
    samples = pcm.astype(np.float64)
    return np.rint(samples * _PEAK / max(1.0, float(np.abs(samples).max()))).astype(np.int16)
