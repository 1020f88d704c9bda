"""LOCAL_WS_URL: one address or several."""

from __future__ import annotations

from pathlib import Path

import pytest

from ai_engine.config_file import ConfigError
from ai_engine.server_addresses import readiness_page, server_addresses, server_label
from ai_engine.settings import load_settings

SHIPPED = Path(__file__).resolve().parents[2] / "config" / "ai-agent.yaml"


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("ws://a:8765", ["ws://a:8765"]),
        ("ws://a:1,ws://b:1", ["ws://a:1", "ws://b:1"]),
        (" ws://a:1 , wss://b/ai\tws://[::1]:2,\n", ["ws://a:1", "wss://b/ai", "ws://[::1]:2"]),
        ("ws://a:1 ws://a:2 wss://a:1", ["ws://a:1", "ws://a:2", "wss://a:1"]),
    ],
)
def test_commas_and_spaces_part_addresses(text, addresses):
    assert server_addresses(text) == tuple(addresses)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (" , ", "holds no address: write ws://host:port"),
        ("http://a:1", "'http://a:1' is not the address of a server: write ws://host:port"),
        ("ws://a:1, b:2", "'b:2' is not the address"),
        ("ws://", "'ws://' is not the address"),
        ("ws://a:eighty", "'ws://a:eighty' is not"),
        ("ws://a:0", "is not the address"),
        ("ws://a:1;ws://b:1", "is not the address"),
        ("ws://[::1", "is not the address"),
        ("ws://a:1#x", "is not the address"),
        ("ws://A:80/ ws://b ws://a", "names ws://a twice: leave one of them out"),
        ("ws://joe:geheim@a:1 ws://a:1", "names ws://a:1 twice"),
        ("http://joe:geheim@a:1?token=geheim", "'a:1' is not the address"),
        ("ws://joe:geheim@a:x", "'a:x' is not the address"),
        ("ws://joe:12/geheim@a:1", "'a:1' is not the address"),
        ("ws://joe:12?geheim@a:1", "'a:1' is not the address"),
    ],
)
def test_what_cannot_be_says_why_and_keeps_secrets(text, complaint):
    with pytest.raises(ConfigError, match="LOCAL_WS_URL") as refused:
        load_settings(SHIPPED, Path("/dev/null"), {"LOCAL_WS_URL": text})
    assert complaint in str(refused.value)
    assert "geheim" not in str(refused.value)


def test_labels_and_pages_hold_no_credentials():
    address = "wss://joe:geheim@a:1/ai/ws?token=geheim"
    assert server_label(address) == "wss://a:1/ai/ws"
    assert readiness_page(address) == "https://a:1/ai/readyz"
    assert readiness_page("ws://a:1/") == "http://a:1/readyz"
