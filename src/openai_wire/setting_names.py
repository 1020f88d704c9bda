"""How the user calls the settings of a server that errors name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SettingNames:
    """What the user calls the settings that errors name."""

    url: str
    key: str
    model: str
    timeout: str
    context: str
