"""Which tools of the settings are of use before and after calls."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ai_engine.tools.registry import Toolbox, ToolServices


@dataclass
class Entry:
    kind: str
    options: dict[str, Any] = field(default_factory=dict)
    description: str | None = None
    filler: str = ""
    timeout_s: float | None = None


async def test_before_and_after_calls() -> None:
    mail = {"host": "127.0.0.1", "sender": "a@office.example", "to": "b@office.example", "security": "none"}
    box = Toolbox(
        {
            "customer": Entry("http", {"url": "https://crm.example/{ai_tenant}/x", "variables": {"name": "n"}}),
            "hook": Entry("http", {"url": "https://crm.example/", "method": "POST", "body": {"t": "{ai_team}"}}),
            "mail": Entry("email", mail),
            "bye": Entry("hang_up"),
            "server": Entry("mcp", {"command": ["/no/such/program"]}),
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
