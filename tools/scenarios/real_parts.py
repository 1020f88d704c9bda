"""What real mode brings up for scenarios: contexts made of personas, the local server, one engine after the other.

An engine serves all scenarios whose personas want the same `conversation` settings; each persona is a context of its
own, named after its scenario.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import BaseModel

from tools.pbx_instance import Pbx
from tools.scenarios.model import Persona, Scenario
from tools.scenarios.real_voice import CallerVoice
from tools.stack import PROJECT, Stack

TOKEN: Final = "token-of-the-scenarios"


@dataclass(frozen=True, slots=True)
class Part:
    """A running engine and the scenarios it serves."""

    stack: Stack
    scenarios: Mapping[str, Scenario]
    voice: CallerVoice


def engine_config(persona: Persona) -> dict[str, Any]:
    """What of the persona is the engine's: its `conversation` section, as far as it is written."""
    section: BaseModel = persona.conversation
    written: dict[str, Any] = section.model_dump(exclude_unset=True)
    return written if persona.line("filler") else {**written, "filler_after_s": 0}


def by_engine(scenarios: Mapping[str, Scenario]) -> list[dict[str, Scenario]]:
    """Those that one engine can serve, together; the largest group first."""
    groups: dict[str, dict[str, Scenario]] = {}
    for name, scenario in scenarios.items():
        key = json.dumps(engine_config(scenario.persona), sort_keys=True)
        groups.setdefault(key, {})[name] = scenario
    return sorted(groups.values(), key=len, reverse=True)


def make_stack(home: Path, pbx: Pbx, scenarios: Mapping[str, Scenario], *, server_url: str = "") -> Stack:
    """An engine for one group of `by_engine`, and a local server unless there is one at `server_url` already."""
    contexts = home / "contexts"
    contexts.mkdir(parents=True, exist_ok=True)
    for name, scenario in scenarios.items():
        (contexts / f"{name}.yaml").write_text(yaml.safe_dump(scenario.persona.context_fields(), sort_keys=False))
    first = next(iter(scenarios))
    config = {
        "conversation": engine_config(scenarios[first].persona),
        "calls": {"default_context": first},
    }
    environment = {"LOCAL_WS_URL": server_url} if server_url else {}
    return Stack(
        home, _asterisk(pbx), config=config, contexts=contexts, environment=environment, with_server=not server_url
    )


def _asterisk(pbx: Pbx) -> dict[str, str]:
    return {
        "ASTERISK_HOST": pbx.host,
        "ASTERISK_ARI_PORT": str(pbx.http_port),
        "ASTERISK_ARI_USERNAME": pbx.ari_user,
        "ASTERISK_ARI_PASSWORD": pbx.ari_password,
        "ASTERISK_ARI_APP": pbx.app,
        "LOCAL_WS_AUTH_TOKEN": TOKEN,
    }


def make_voice(server_url: str) -> CallerVoice:
    return CallerVoice(server_url, TOKEN, PROJECT / "var" / "speech" / "understood")


@asynccontextmanager
async def engines(home: Path, pbx: Pbx, scenarios: Mapping[str, Scenario]) -> AsyncIterator[AsyncGenerator[Part, None]]:
    """One engine after the other, with one local server for all of them."""
    groups = by_engine(scenarios)
    async with make_stack(home / "engine-1", pbx, groups[0]) as first:
        server_url = first.server_url.replace("http", "ws", 1)
        voice = make_voice(server_url)

        async def each() -> AsyncGenerator[Part, None]:
            yield Part(first, groups[0], voice)
            for number, group in enumerate(groups[1:], start=2):
                if number == 2:
                    await first.engine.stop(first.stop_deadline_s)
                async with make_stack(home / f"engine-{number}", pbx, group, server_url=server_url) as stack:
                    yield Part(stack, group, voice)

        async with aclosing(each()) as parts:
            yield parts
