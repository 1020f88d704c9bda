"""Documents that are made from the code, or must list what the code reads, are true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ai_engine.environment import ENGINE_VARIABLES
from ai_engine.metrics import Metrics
from local_ai_server import settings as server_settings
from local_ai_server.backends.registry import BACKENDS
from tools import config_doc, licences, protocol_doc
from voice_wire.messages import ERROR_CODES

PROJECT = Path(__file__).resolve().parents[2]
ALIASES = {"LLAMA_MODEL", "LLAMA_CTX_SIZE", "LLAMA_PARALLEL", "FASTER_WHISPER_MODEL_PATH", "LOCAL_STT_LANGUAGE"}
"""Other names of documented variables, read for users who come from elsewhere."""


def variables_in(text: str) -> set[str]:
    return set(re.findall(r"^#?([A-Z][A-Z0-9_]+)=", text, re.MULTILINE))


def server_variables() -> set[str]:
    source = Path(server_settings.__file__).read_text()
    own = set(re.findall(r'"((?:LOCAL|FASTER_WHISPER|LLAMA|ENABLE|SERVICE)_[A-Z_]+)"', source)) - {"LOCAL_"}
    return own | {name for b in BACKENDS for names in b.options.variables().values() for name in names[:1]}


def test_the_configuration_page_is_what_the_settings_say() -> None:
    assert (PROJECT / "docs" / "configuration.md").read_text() == config_doc.document(), (
        "run: python -m tools.config_doc > docs/configuration.md"
    )


def test_the_protocol_page_and_schema_are_what_the_models_say() -> None:
    page, schema = PROJECT / "docs" / "protocol.md", PROJECT / "docs" / "protocol.schema.json"
    assert page.read_text() == protocol_doc.document(), "run: python -m tools.protocol_doc > docs/protocol.md"
    assert schema.read_text() == protocol_doc.schema_document(), (
        "run: python -m tools.protocol_doc schema > docs/protocol.schema.json"
    )


def test_every_message_and_error_code_is_on_the_protocol_page_with_its_meaning() -> None:
    page = (PROJECT / "docs" / "protocol.md").read_text()
    for section in re.findall(r"^### (.*)\n\n(.*)$", page, re.MULTILINE):
        assert not section[1].startswith("|"), f"{section[0]} has no docstring"
    assert {code: bool(meaning) for code, meaning in protocol_doc.error_codes().items()} == dict.fromkeys(
        ERROR_CODES, True
    )


def test_every_variable_the_engine_reads_is_in_the_example() -> None:
    assert {v.name for v in ENGINE_VARIABLES} <= variables_in((PROJECT / ".env.example").read_text())


def test_every_variable_the_server_reads_is_in_the_example() -> None:
    assert server_variables() - ALIASES <= variables_in((PROJECT / ".env.example").read_text())


def test_every_variable_of_the_example_is_read_somewhere() -> None:
    sources = [*PROJECT.glob("src/**/*.py"), *PROJECT.glob("local_ai_server/**/*.py"), *PROJECT.glob("tools/**/*")]
    code = "\n".join(p.read_text() for p in sources if p.is_file() and p.suffix in ("", ".py", ".sh"))
    unread = {name for name in variables_in((PROJECT / ".env.example").read_text()) if name not in code}
    assert not unread


def test_every_pinned_package_has_its_licence_listed() -> None:
    page = (PROJECT / "docs" / "licences.md").read_text()
    missing = [name for name, version in licences.pinned() if f"| {name} {version} |" not in page]
    assert not missing, "run: python -m tools.licences > docs/licences.md"


def test_no_pinned_version_is_missing_from_the_constraints() -> None:
    lines = (PROJECT / "constraints.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[A-Za-z0-9_.\-]+==[^\s;@]+", line) for line in lines), "names and versions, no addresses"


def test_every_metric_in_the_docs_is_emitted_and_every_one_emitted_is_in_the_docs() -> None:
    page = (PROJECT / "docs" / "operation.md").read_text()
    emitted = set(re.findall(r"^# HELP (parley_\w+)", Metrics().exposition().decode(), re.MULTILINE))
    assert set(re.findall(r"`(parley_\w+)`", page)) == {name for name in emitted if not name.endswith("_created")}


@pytest.mark.parametrize("script", ["demo.sh", "test.sh", "tools/setup", "tools/pbx", ".ci/run"])
def test_scripts_can_be_run(script: str) -> None:
    assert (PROJECT / script).stat().st_mode & 0o111
