"""How long to wait before trying again."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential growth up to a ceiling, to be multiplied by a random share ("full jitter").

    Many engines that lost one Asterisk at the same instant spread over the whole window instead of returning together:
    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """

    base_s: float = 0.5
    cap_s: float = 30.0

    def __post_init__(self) -> None:
        if not 0 < self.base_s <= self.cap_s:
            raise ValueError(f"backoff: 0 < base_s <= cap_s, not {self.base_s} and {self.cap_s}")

    def ceiling_s(self, attempt: int) -> float:
        """The longest wait before attempt `attempt` (0 is the first repetition)."""
        return min(self.cap_s, self.base_s * 2.0 ** min(attempt, 32))
