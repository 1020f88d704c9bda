"""What a caller's microphone picks up besides him: the agent's echo, noise without end, somebody else in the room."""

from __future__ import annotations

import asyncio

import numpy as np
from numpy.typing import NDArray

from tools.call.room import Room
from tools.call.wav import Pcm


class Beside:
    """A sound beside the caller, given to `SipCall.play_beside`."""

    def __init__(self, sound: Pcm) -> None:
        self._sound = sound
        self._at = 0
        self.over = asyncio.Event()
        """All of it has been handed to the stack, or the call has ended."""

    def take(self, count: int) -> Pcm:
        """The next `count` samples, fewer at the end."""
        piece = self._sound[self._at : self._at + count]
        self._at += len(piece)
        if self._at >= len(self._sound):
            self.over.set()
        return piece


class Surroundings:
    """Sounds of any number, mixed. Empty to begin with."""

    def __init__(self) -> None:
        self.room: Room | None = None
        self._noise: Pcm | None = None
        self._noise_at = 0
        self._beside: list[Beside] = []

    def surround(self, noise: Pcm | None) -> None:
        """From now on this noise, again and again; None: no more."""
        self._noise = noise if noise is not None and len(noise) else None
        self._noise_at = 0

    def add(self, sound: Beside) -> None:
        self._beside.append(sound)

    def hear(self, samples: Pcm, begin_s: float) -> None:
        """What the caller's telephone plays, which may come back."""
        if self.room is not None:
            self.room.hear(samples, begin_s)

    def sound(self, begin_s: float, count: int) -> NDArray[np.int32]:
        """The next `count` samples, which will be sent from `begin_s` on."""
        total = np.zeros(count, np.int32)
        if self.room is not None:
            total += self.room.echo(begin_s, count)
        if self._noise is not None:
            total += np.take(self._noise, np.arange(self._noise_at, self._noise_at + count), mode="wrap")
            self._noise_at = (self._noise_at + count) % len(self._noise)
        for sound in self._beside:
            piece = sound.take(count)
            total[: len(piece)] += piece
        self._beside = [sound for sound in self._beside if not sound.over.is_set()]
        return total

    def close(self) -> None:
        """The call is over: nobody waits any longer."""
        for sound in self._beside:
            sound.over.set()
        self._beside.clear()
