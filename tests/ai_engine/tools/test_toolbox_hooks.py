"""Which tools of the settings are of use before and after calls."""

from __future__ import annotations

from typing import Any

from ai_engine.settings import ToolSettings
from ai_engine.tools.registry import Toolbox, ToolServices


def entry(kind: str, options: dict[str, Any] | None = None) -> ToolSettings:
    """Of the configuration's `tools:`."""
    return ToolSettings(kind=kind, options=options or {})


async def test_before_and_after_calls() -> None:
    mail = {"host": "127.0.0.1", "sender": "a@office.example", "to": "b@office.example", "security": "none"}
    box = Toolbox(
        {
            "customer": entry("http", {"url": "https://crm.example/{ai_tenant}/x", "variables": {"name": "n"}}),
            "hook": entry("http", {"url": "https://crm.example/", "method": "POST", "body": {"t": "{ai_team}"}}),
            "mail": entry("email", mail),
            "bye": entry("hang_up"),
            "server": entry("mcp", {"command": ["/no/such/program"]}),
        },
        ToolServices(),
    )
    names = ("customer", "hook", "mail", "bye", "server", "nothing")
    assert [box.lookups(name) for name in names] == [frozenset({"name"}), frozenset(), None, None, None, None]
    assert [name for name in names if box.takes_calls(name)] == ["customer", "hook", "mail"]
    assert [hook.lookup_variables for hook in box.before_call(names)] == [{"name": ""}, {}]
    assert [name for name, _ in box.after_call(names)] == ["customer", "hook", "mail"]
    assert box.dialplan_variables == {"ai_tenant", "ai_team"}
    assert {tool.spec.name for tool in box.allowed(names)} == {"customer", "hook", "mail", "bye"}
