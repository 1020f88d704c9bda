"""The virtual call of the scenario runner, under the name that the tests of the conversation know it by."""

from __future__ import annotations

from tools.scenarios.virtual_call import VirtualCall
from tools.scenarios.virtual_parts import DEFAULT_REPLY, ScriptedProvider, VirtualTransport

__all__ = ["DEFAULT_REPLY", "ScriptedProvider", "VirtualCall", "VirtualTransport"]
