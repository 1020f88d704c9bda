"""Keeping a reasoning model's thoughts out of what is said."""

from __future__ import annotations

from typing import Final

_TAGS: Final = (("<think>", "</think>"), ("<thinking>", "</thinking>"))


class ThinkingFilter:
    """Takes an answer in pieces and gives what is not thought; a tag may be cut anywhere between pieces."""

    def __init__(self, *, inside: bool = False) -> None:
        """`inside`: the answer begins in a thought, unless its end never comes (templates that open it themselves)."""
        self._held = ""
        self._until: str | None = _TAGS[0][1] if inside else None
        self._presumed = inside

    def leave(self) -> None:
        """There is no thought around this text after all."""
        if self._presumed:
            self._presumed, self._until = False, None

    def feed(self, text: str) -> str:
        """What may be said of it now; what could be the beginning of a tag is held back."""
        self._held += text
        said = []
        while True:
            if self._until is not None:
                at = self._held.find(self._until)
                if at < 0:
                    if not self._presumed:
                        self._held = self._held[len(self._held) - _overlap(self._held, self._until) :]
                    break
                self._held = self._held[at + len(self._until) :]
                self._until, self._presumed = None, False
            found = [(self._held.find(begin), begin, end) for begin, end in _TAGS if begin in self._held]
            if not found:
                cut = len(self._held) - max(_overlap(self._held, begin) for begin, _ in _TAGS)
                said.append(self._held[:cut])
                self._held = self._held[cut:]
                break
            at, begin, self._until = min(found)
            said.append(self._held[:at])
            self._held = self._held[at + len(begin) :]
        return "".join(said)

    def rest(self, *, complete: bool = True) -> str:
        """What was held back and was no thought after all; nothing of one that never ended.

        A thought that was only presumed and whose end never came is the answer, if the model ended by itself.
        """
        said = self._until is None or (self._presumed and complete)
        rest, self._held = (self._held if said else ""), ""
        return rest


def _overlap(text: str, tag: str) -> int:
    """How many characters at the end of `text` begin `tag`."""
    return next((n for n in range(min(len(text), len(tag) - 1), 0, -1) if text.endswith(tag[:n])), 0)
