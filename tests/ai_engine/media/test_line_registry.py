"""The line kinds: that the registry has them all, and what of them is started, opened and given back."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import pytest

from ai_engine.media.line_formats import LINE_FORMATS, TransportName
from ai_engine.media.line_registry import LINE_KINDS, LineParts, Lines
from ai_engine.media.lines import MediaError
from ai_engine.media.pacer import MediaLoop
from ai_engine.media.ports import RtpPorts
from ai_engine.settings import MediaSettings, Settings

FIRST, LAST = 28400, 28499


def parts(media: MediaLoop, **settings: object) -> LineParts:
    ports = RtpPorts(FIRST, LAST, host="127.0.0.1")
    return LineParts(Settings(media=MediaSettings(**settings)), media, ports, frozenset({"127.0.0.1"}))


@pytest.mark.parametrize("name", LINE_KINDS)
def test_a_kind_carries_what_the_table_says(name: TransportName) -> None:
    assert LINE_KINDS[name](parts(MediaLoop())).formats == LINE_FORMATS[name]


def test_what_may_be_written_is_what_there_is() -> None:
    assert set(LINE_FORMATS) == set(get_args(TransportName))


async def test_rtp_asks_asterisk_for_its_own_port_and_gives_it_back() -> None:
    needs = parts(MediaLoop(), advertise="192.0.2.7")
    lines = Lines({"rtp": LINE_KINDS["rtp"](needs)})
    line = await lines.open("c1", "rtp", "alaw")
    host, _, port = line.request.external_host.rpartition(":")
    assert host == "192.0.2.7"
    assert FIRST <= int(port) <= LAST
    assert (line.request.transport, line.request.encapsulation, line.request.media_format) == ("udp", "rtp", "alaw")
    assert needs.ports.in_use == 1
    await line.transport.close()
    assert needs.ports.in_use == 0


@pytest.mark.parametrize("settings", [{"bind": "0.0.0.0"}, {"bind": "::"}, {"advertise": "0.0.0.0"}])
async def test_asterisk_is_told_no_address_that_nobody_can_send_to(settings: dict[str, str]) -> None:
    needs = parts(MediaLoop(), **settings)
    with pytest.raises(MediaError, match=r"set media\.advertise"):
        await Lines({"rtp": LINE_KINDS["rtp"](needs)}).open("c1", "rtp", "ulaw")
    assert needs.ports.in_use == 0


async def test_an_ipv6_address_is_written_in_brackets() -> None:
    lines = Lines({"rtp": LINE_KINDS["rtp"](parts(MediaLoop(), advertise="2001:db8::7"))})
    line = await lines.open("c1", "rtp", "ulaw")
    assert line.request.external_host.startswith("[2001:db8::7]:")
    await line.transport.close()


class Kind:
    """A line kind that notes what is done to it."""

    formats = LINE_FORMATS["audiosocket"]

    def __init__(self, *, fails: int = 0) -> None:
        self.done: list[str] = []
        self._fails = fails

    async def start(self) -> None:
        self.done.append("start")
        if self._fails:
            self._fails -= 1
            raise MediaError("the port is taken; set another")

    async def stop(self) -> None:
        self.done.append("stop")

    def open(self, call_id: str, media_format: str) -> SimpleNamespace:
        self.done.append(f"open {call_id} {media_format}")
        return SimpleNamespace()


async def test_a_kind_is_started_by_the_first_call_that_asks_and_stopped_once() -> None:
    used, unused = Kind(), Kind()
    lines = Lines({"audiosocket": used, "websocket": unused})
    await lines.open("c1", "audiosocket", "slin")
    await lines.open("c2", "audiosocket", "slin16")
    await lines.stop()
    await lines.stop()
    assert used.done == ["start", "open c1 slin", "open c2 slin16", "stop"]
    assert unused.done == []


async def test_a_kind_that_could_not_start_is_tried_again_by_the_next_call() -> None:
    kind = Kind(fails=1)
    lines = Lines({"audiosocket": kind})
    with pytest.raises(MediaError, match="taken"):
        await lines.open("c1", "audiosocket", "slin")
    await lines.open("c2", "audiosocket", "slin")
    await lines.stop()
    assert kind.done == ["start", "start", "open c2 slin", "stop"]


async def test_a_transport_that_is_not_there_is_named() -> None:
    with pytest.raises(MediaError, match="there are audiosocket"):
        await Lines({"audiosocket": Kind()}).open("c1", "websocket", "ulaw")


def test_a_call_names_no_transport() -> None:
    root = Path(__file__).resolve().parents[3] / "src" / "ai_engine"
    for file in root.glob("call*.py"):
        text = file.read_text()
        assert "rtp_transport" not in text, file
        assert "rtp_line" not in text, file
