"""Transports and formats as they are written in the configuration, and the line a call then gets."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from ai_engine.call_line import CallLine
from ai_engine.config_file import ConfigError
from ai_engine.media.line_choice import READY_PROFILES, LineChoice
from ai_engine.media.lines import MediaError
from ai_engine.media.ports import PortError
from ai_engine.settings import MediaSettings, load_settings


def media(folder: Path, yaml: str) -> MediaSettings:
    (folder / "ai-agent.yaml").write_text("media:\n" + yaml)
    return load_settings(folder / "ai-agent.yaml", folder / ".env", {}).media


LINES = {
    "nothing said": ("  echo: off\n", LineChoice("rtp", "ulaw", "off")),
    "g722": ("  format: g722\n", LineChoice("rtp", "g722", "auto")),
    "websocket": ("  transport: websocket\n  format: slin16\n", LineChoice("websocket", "slin16", "auto")),
    "audiosocket": ("  transport: audiosocket\n  format: slin\n", LineChoice("audiosocket", "slin", "auto")),
}


@pytest.mark.parametrize(("yaml", "line"), LINES.values(), ids=LINES.keys())
def test_the_configured_line(tmp_path: Path, yaml: str, line: LineChoice) -> None:
    assert media(tmp_path, yaml).line == line


MISTAKES = {
    "a format that is never played": ("  format: slin16\n", "write one of ulaw, alaw, slin, g722"),
    "ulaw over AudioSocket": ("  transport: audiosocket\n", "write one of slin, slin16"),
    "no such transport": ("  transport: quic\n", "media.transport"),
    "a profile that cannot be": ("  profiles:\n    x: {transport: websocket, format: g722}\n", "write one of ulaw"),
    "a name as a source": ("  allowed_sources: [pbx2.example.org]\n", "no IP address"),
    "a network as a source": ("  allowed_sources: [10.0.0.0/8]\n", "no IP address"),
    "a profile nobody could name": ("  profiles:\n    'A b': {transport: rtp, format: ulaw}\n", "profiles"),
}


@pytest.mark.parametrize(("yaml", "told"), MISTAKES.values(), ids=MISTAKES.keys())
def test_what_cannot_be_is_refused_with_what_can(tmp_path: Path, yaml: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        media(tmp_path, yaml)


def test_profiles_of_ones_own_stand_beside_the_ready_ones_or_before_them(tmp_path: Path) -> None:
    settings = media(
        tmp_path,
        "  echo: off\n  profiles:\n    door: {transport: audiosocket, format: slin, echo: always}\n"
        "    wideband: {transport: websocket, format: slin16}\n",
    )
    profiles = settings.line_profiles
    assert set(profiles) == {*READY_PROFILES, "door"}
    assert profiles["door"] == LineChoice("audiosocket", "slin", "always")
    assert profiles["wideband"] == LineChoice("websocket", "slin16", "off")
    assert profiles["telephony"] == LineChoice("rtp", "ulaw", "off")


RTP, WEBSOCKET = LineChoice("rtp", "ulaw"), LineChoice("websocket", "slin16")


class Lines:
    """`ai_engine.media.line_registry.Lines` of which some transports cannot be had."""

    def __init__(self, **errors: Exception) -> None:
        self._errors = errors

    async def open(self, call_id: str, transport: str, media_format: str) -> SimpleNamespace:
        if transport in self._errors:
            raise self._errors[transport]
        return SimpleNamespace(transport=f"{transport}/{media_format}")


def call_line() -> CallLine:
    ids = SimpleNamespace(media=lambda call_id: f"m-{call_id}", bridge=lambda call_id: f"b-{call_id}")
    return CallLine("c1", "caller", ari=None, ids=ids, lane=None, media=None)  # type: ignore[arg-type]


async def test_the_line_asked_for_is_opened() -> None:
    line = call_line()
    with capture_logs() as logs:
        assert await line.open(Lines(), WEBSOCKET, otherwise=RTP) == WEBSOCKET  # type: ignore[arg-type]
    assert line.transport == "websocket/slin16"  # type: ignore[comparison-overlap]
    assert [entry["event"] for entry in logs] == ["line_opened"]


@pytest.mark.parametrize("error", [MediaError("nothing listens"), PortError("none left")])
async def test_a_transport_that_cannot_be_had_is_told_and_the_configured_one_used(error: Exception) -> None:
    line = call_line()
    with capture_logs() as logs:
        assert await line.open(Lines(websocket=error), WEBSOCKET, otherwise=RTP) == RTP  # type: ignore[arg-type]
    assert line.transport == "rtp/ulaw"  # type: ignore[comparison-overlap]
    warning = next(entry for entry in logs if entry["event"] == "transport_not_available")
    assert (warning["wanted"], warning["used"], warning["error"]) == ("websocket/slin16", "rtp/ulaw", str(error))


async def test_where_the_configured_one_cannot_be_had_the_call_fails() -> None:
    with pytest.raises(PortError):
        await call_line().open(Lines(rtp=PortError("none left")), RTP, otherwise=RTP)  # type: ignore[arg-type]
    with pytest.raises(PortError):
        await call_line().open(
            Lines(rtp=PortError("none left"), websocket=MediaError("away")),  # type: ignore[arg-type]
            WEBSOCKET,
            otherwise=RTP,
        )
