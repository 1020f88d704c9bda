"""What is said in the calls of `echo_map`: rendered once, the same every time, and kept on disk."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from benchmarks.echo_calls import FRAME, RATE_HZ, Line, Stock
from local_ai_server.catalog import find_model
from voice_wire.audio import Pcm, decode, resample

ANSWERS: Final = (
    "We are open from nine to five, Monday to Friday, and on Saturday until noon.",
    "The garden behind the house has roses, two old apple trees and a small pond with fish in it.",
    "I can book you in for Tuesday at half past three, or on Thursday morning at ten.",
    "Our address is twelve High Street, right beside the post office, and there is parking behind the building.",
    "The price is forty two dollars and fifty cents, and you can pay by card or in cash when you arrive.",
    "Please bring your insurance card and a list of the medicines that you take every day.",
    "Your order was shipped yesterday and it should arrive on Friday between eight and twelve.",
    "I am sorry to hear that. Let me have a look at what we can do for you today.",
    "Could you tell me your name and your date of birth, please?",
    "The waiting room is on the second floor, and the elevator is to the left of the main entrance.",
)
QUESTIONS: Final = ("What color is the door?", "Where can I park my car?")
INTERRUPTIONS: Final = (
    "Excuse me, what color is the door?",
    "Stop, please, is there parking?",
    "No wait, I have another question.",
    "Hold on a second please.",
    "Sorry, where can I park my car?",
    "Can I ask you something else?",
    "Actually, I wanted to cancel my appointment.",
    "Wait, how much was that again?",
)
VOICES: Final = ("af_heart", "am_michael")
_SHORT_PITCH: Final = 1.2


def make_stock(cache: Path, *, short: bool = False) -> Stock:
    """Everything at 8 kHz; what callers say is without silence around it, its loudest 20 ms at full scale.

    `short`: a few lines, with Piper raised in pitch as the caller. Raises `ModelMissing`.
    """
    n_answers, n_said = (2, 1) if short else (len(ANSWERS), len(INTERRUPTIONS))
    kept = cache / ("short.npz" if short else "stock.npz")
    if not kept.exists():
        sounds = _agent(ANSWERS[:n_answers])
        said = (*QUESTIONS, *INTERRUPTIONS[:n_said])
        sounds |= _raised(said) if short else asyncio.run(_callers(said))
        cache.mkdir(parents=True, exist_ok=True)
        partial = kept.with_suffix(".part.npz")
        np.savez(partial, **sounds)  # type: ignore[arg-type]
        partial.replace(kept)
    with np.load(kept) as stored:
        sounds = {name: stored[name] for name in stored.files}
    voices = ("raised",) if short else VOICES

    def lines(texts: tuple[str, ...]) -> list[Line]:
        return [Line(text, _full_scale(sounds[f"{voice}: {text}"])) for text in texts for voice in voices]

    answers = [Line(text, sounds[f"agent: {text}"]) for text in ANSWERS[:n_answers]]
    return Stock(answers, lines(QUESTIONS), lines(INTERRUPTIONS[:n_said]))


def _agent(texts: tuple[str, ...]) -> dict[str, Pcm]:
    """Piper without its randomness, so that every run says the same."""
    from piper import PiperVoice, SynthesisConfig  # noqa: PLC0415 - GPL-3, only in this benchmark's own process

    voice = PiperVoice.load(find_model("en_US-joe-medium"))
    steady = SynthesisConfig(noise_scale=0.0, noise_w_scale=0.0)
    sounds = {}
    for text in texts:
        chunks = list(voice.synthesize(text, steady))
        spoken = np.concatenate([chunk.audio_int16_array for chunk in chunks])
        sounds[f"agent: {text}"] = resample(spoken, chunks[0].sample_rate, RATE_HZ)
    return sounds


def _raised(texts: tuple[str, ...]) -> dict[str, Pcm]:
    """Piper played faster than it was made: higher, as with a smaller speaker."""
    raised = {}
    for text, sound in zip(texts, _agent(texts).values(), strict=True):
        at = np.arange(0, sound.size - 1, _SHORT_PITCH)
        raised[f"raised: {text}"] = np.interp(at, np.arange(sound.size), sound).astype(np.int16)
    return raised


async def _callers(texts: tuple[str, ...]) -> dict[str, Pcm]:
    """Two people, by Kokoro in its worker."""
    from local_ai_server.backends.backend import Machine  # noqa: PLC0415 - heavy
    from local_ai_server.backends.tts import kokoro  # noqa: PLC0415
    from model_worker.link import WorkerLink  # noqa: PLC0415
    from model_worker.spec import WorkerSpec  # noqa: PLC0415

    backend = kokoro.BACKEND
    plan = backend.plan(kokoro.Options(mode="onnx", threads=1), Machine())
    link = WorkerLink(
        WorkerSpec(
            model=backend.model, settings=plan.load, env=plan.env, threads=plan.threads, canary=backend.canary,
            canary_deadline_s=120, load_deadline_s=120, call_deadline_s=120,
        )
    )  # fmt: skip
    await link.start()
    sounds = {}
    try:
        for voice in VOICES:
            for text in texts:
                async with link.call("speak", {"text": text, "voice": voice}) as answers:
                    _, audio = await answers.finish()
                sounds[f"{voice}: {text}"] = decode(audio, "mulaw")
    finally:
        await link.stop()
    return sounds


def _full_scale(sound: Pcm) -> npt.NDArray[np.float64]:
    frames = sound[: sound.size // FRAME * FRAME].astype(np.float64).reshape(-1, FRAME)
    power = np.einsum("ij,ij->i", frames, frames) / FRAME
    loud = np.flatnonzero(power > power.max() * 1e-3)
    cut: npt.NDArray[np.float64] = frames[loud[0] : loud[-1] + 1].ravel() * (32768 / np.sqrt(power.max()))
    return cut
