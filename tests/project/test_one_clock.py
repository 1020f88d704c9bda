"""Rule 1 of docs/architecture.md: sound has one clock.

Whether the agent speaks, what was heard of it and whether the STT may listen is answered by the call's `Playout` and
`Gate`. Here it is made sure that nothing else in the engine keeps an answer of its own: reckons with the length of
agent audio, or names something that could only be such an estimate.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

SOURCES = Path(__file__).resolve().parents[2] / "src"
CLOCK = {"voice_core/playout.py", "voice_core/turn_sound.py", "voice_core/spoken_text.py"}
ESTIMATES = re.compile(
    r"_*(is_|agent_|still_)*(speaking|playing|sounding|audible|talking)(_until|_ends?(_at)?|_for_s)?$"
    r"|_*(playout|playback|speech|audio)_(ends?|ended|done|finished|until)(_at|_s|_ms)?$"
    r"|_*(heard|played)_(at|until|ms|s|text)$|_*(may|can)_(listen|hear)$|_*(downstream|tail)_(ms|s)$"
)
ALLOWED = {
    "voice_core/voice_activity.py": {"speaking", "_speaking"},  # the caller's voice
    # Which of the replies has the floor, and whether the provider has delivered all of it; not what is heard.
    "ai_engine/conversation/agent_floor.py": {"sounding", "audio_done"},
    "ai_engine/conversation/turns.py": {"audio_done"},
    # Handed to the playout.
    "ai_engine/settings.py": {"downstream_ms"},
    "ai_engine/media/rtp_line.py": {"_downstream_ms"},
    "ai_engine/media/audiosocket_line.py": {"_downstream_ms"},
    "ai_engine/media/websocket_line.py": {"_downstream_ms"},
}
LENGTHS = {"duration_s", "bytes_per_second"}


@cache
def modules() -> list[tuple[str, ast.Module]]:
    """Each module of the engine, by its path below the sources."""
    files = [file for package in ("voice_core", "ai_engine") for file in sorted((SOURCES / package).rglob("*.py"))]
    return [(str(file.relative_to(SOURCES)), ast.parse(file.read_text())) for file in files]


def defined(tree: ast.Module) -> set[str]:
    """Names that a module gives to functions, attributes and fields of its classes."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.ClassDef):
            names |= {item.target.id for item in node.body
                      if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)}  # fmt: skip
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
    return names


def calls(tree: ast.Module, name: str) -> int:
    return sum(
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name
        for node in ast.walk(tree)
    )


def test_nothing_else_is_named_like_an_estimate() -> None:
    for module, tree in modules():
        if module not in CLOCK:
            found = {name for name in defined(tree) if ESTIMATES.match(name)}
            assert not found - ALLOWED.get(module, set()), f"{module} keeps a clock of its own"


def test_what_is_allowed_is_there() -> None:
    trees = dict(modules())
    for module, names in ALLOWED.items():
        assert names <= defined(trees[module]), f"{module} has changed: take it off the list"


@pytest.mark.parametrize("package", ["voice_core/", "ai_engine/conversation/", "ai_engine/media/", "ai_engine/call"])
def test_nothing_else_reckons_with_the_length_of_audio(package: str) -> None:
    for module, tree in modules():
        if module.startswith(package) and module not in CLOCK:
            used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
            assert not used & LENGTHS, f"{module} turns bytes into time"


def test_a_transport_makes_the_clock_and_the_conversation_the_gate() -> None:
    playouts = {module for module, tree in modules() if calls(tree, "Playout")}
    gates = {module for module, tree in modules() if calls(tree, "Gate")}
    assert playouts
    assert all(re.fullmatch(r"ai_engine/media/\w+\.py", module) for module in playouts), playouts
    assert gates == {"ai_engine/conversation/parts.py"}


def test_only_the_floor_asks_for_the_gates_policy() -> None:
    """Everything that listens to the caller does so through the gate of his floor."""
    for module, tree in modules():
        if module.startswith("ai_engine/conversation/") and not module.endswith("caller_floor.py"):
            asked = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
            assert not asked & {"passes", "since"}, module
