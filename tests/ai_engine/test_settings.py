"""Settings: what may be written where, and how plainly a mistake is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_engine.config_file import ConfigError, read_document
from ai_engine.conversation.conversation_settings import ConversationSettings
from ai_engine.conversation_section import conversation_settings
from ai_engine.environment import ENGINE_VARIABLES, read_environment
from ai_engine.settings import SECRET_SETTINGS, Settings, is_loopback, load_settings


def load(
    folder: Path, yaml: str = "", env: str = "", local: str = "", process: dict[str, str] | None = None
) -> Settings:
    (folder / "ai-agent.yaml").write_text(yaml)
    (folder / ".env").write_text(env)
    if local:
        (folder / "ai-agent.local.yaml").write_text(local)
    return load_settings(folder / "ai-agent.yaml", folder / ".env", process or {})


def test_an_empty_file_gives_loopback_defaults(tmp_path: Path) -> None:
    settings = load(tmp_path)
    assert is_loopback(settings.http.bind)
    assert is_loopback(settings.media.bind)
    assert is_loopback(settings.asterisk.host)


def test_environment_beats_overlay_beats_file(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        yaml="asterisk:\n  host: a\n  port: 1\n  app: one\n",
        local="asterisk:\n  port: 2\n  app: two\n",
        env="ASTERISK_ARI_APP=three\n",
    )
    assert (settings.asterisk.host, settings.asterisk.port, settings.asterisk.app) == ("a", 2, "three")


def test_the_process_environment_beats_the_env_file(tmp_path: Path) -> None:
    settings = load(tmp_path, env="ASTERISK_HOST=file\n", process={"ASTERISK_HOST": "process"})
    assert settings.asterisk.host == "process"


MISTAKES = {
    "unknown section": ("medai:\n  ports: 1-2\n", "ai-agent.yaml:1", "did you mean `media`?"),
    "unknown key": ("asterisk:\n  host: x\n  prot: 8088\n", "ai-agent.yaml:3", "did you mean `port`?"),
    "nothing near": ("asterisk:\n  zzzz: 1\n", "ai-agent.yaml:2", "valid keys here:"),
    "bad range": ("media:\n  ports: 500-400\n", "ai-agent.yaml:2", "media.ports"),
    "not a range": ("media:\n  ports: many\n", "ai-agent.yaml:2", "first-last"),
    "bad format": ("media:\n  format: mp3\n", "ai-agent.yaml:2", "media.format"),
    "twice": ("media:\n  bind: a\n  bind: b\n", "ai-agent.yaml:3", "stands twice (first on line 2)"),
    "not yaml": ("media: [\n", "ai-agent.yaml:2", "not valid YAML"),
    "a list": ("- media\n", "ai-agent.yaml:1", "expected keys and values"),
    "a secret": ("asterisk:\n  password: hunter2\n", "ai-agent.yaml:2", "set it in .env"),
    "open to all": ("http:\n  bind: 0.0.0.0\n", "ai-agent.yaml", "ENGINE_HTTP_TOKEN"),
    "provider key": ("providers:\n  x:\n    knid: local\n", "ai-agent.yaml:3", "did you mean `kind`?"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_names_file_line_and_remedy(tmp_path: Path, name: str) -> None:
    yaml, where, hint = MISTAKES[name]
    with pytest.raises(ConfigError) as error:
        load(tmp_path, yaml=yaml)
    assert where in str(error.value)
    assert hint in str(error.value)
    assert "hunter2" not in str(error.value)


def test_a_mistake_in_the_overlay_names_the_overlay(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ai-agent\.local\.yaml:2: unknown key `asterisk\.prot`"):
        load(tmp_path, yaml="asterisk:\n  host: x\n", local="asterisk:\n  prot: 1\n")


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        load(tmp_path, yaml="a: 1\nb: 2\nasterisk:\n  c: 3\n")
    assert len(str(error.value).splitlines()) == 3


@pytest.mark.parametrize(
    ("env", "hint"),
    [
        ("ASTERISK_HSOT=x\n", ".env:1: unknown variable `ASTERISK_HSOT`; did you mean `ASTERISK_HOST`?"),
        ("# ok\nQWERTY=x\n", ".env:2: unknown variable `QWERTY`; see .env.example"),
        ("ASTERISK_ARI_PORT=high\n", "asterisk.port"),
    ],
)
def test_a_mistake_in_the_env_file_is_told(tmp_path: Path, env: str, hint: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(tmp_path, env=env)
    assert hint in str(error.value)


def test_other_parts_variables_are_left_to_them(tmp_path: Path) -> None:
    load(tmp_path, env="LOCAL_WS_PORT=9999\nKOKORO_VOICE=af\nJWT_SECRET=x\n")


def test_every_engine_variable_overrides_an_existing_setting() -> None:
    for variable in ENGINE_VARIABLES:
        section, key = variable.setting
        annotation = Settings.model_fields[section].annotation
        assert annotation is not None
        assert key in annotation.model_fields, variable.name


def test_every_secret_has_a_variable_and_is_never_printed(tmp_path: Path) -> None:
    named = {v.setting for v in ENGINE_VARIABLES if v.secret}
    assert named == set(SECRET_SETTINGS)
    env = "".join(f"{v.name}=s3cr3t-value\n" for v in ENGINE_VARIABLES if v.secret)
    settings = load(tmp_path, env=env)
    assert "s3cr3t-value" not in repr(settings)
    assert "s3cr3t-value" not in settings.model_dump_json()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_settings(tmp_path / "none.yaml", tmp_path / ".env", {})


def test_a_missing_env_file_is_an_empty_one(tmp_path: Path) -> None:
    assert read_environment(tmp_path / ".env", {"A": "b"}) == {"A": "b"}


@given(st.text())
def test_any_text_is_read_or_refused_with_the_one_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("yaml") / "any.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        read_document(path)
    except ConfigError as error:
        assert "any.yaml" in str(error)


@pytest.mark.parametrize(
    ("address", "loopback"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("pbx", False)],
)
def test_loopback_is_what_only_this_machine_reaches(address: str, loopback: bool) -> None:
    assert is_loopback(address) is loopback


@pytest.mark.parametrize("peers", [["ai-agent-2", "ai-agent-*"], ["ai-agent-1"], ["desk"], []])
def test_engines_may_name_each_other(tmp_path: Path, peers: list[str]) -> None:
    settings = load(tmp_path, f"asterisk: {{app: ai-agent-1, peers: {peers}}}")
    assert settings.asterisk.peers == peers


@pytest.mark.parametrize(("app", "peer"), [("ai-agent", "ai_agent"), ("a" * 32 + "1", "a" * 32 + "2")])
def test_engines_whose_channels_could_not_be_told_apart_are_refused(tmp_path: Path, app: str, peer: str) -> None:
    with pytest.raises(ConfigError, match="differ too little"):
        load(tmp_path, f"asterisk: {{app: {app}, peers: [{peer}]}}")


def test_the_knobs_of_turn_taking_are_checked_like_all_else(tmp_path: Path) -> None:
    settings = load(tmp_path, yaml="conversation:\n  speculation_ms: 200\n  interruption:\n    short_ms: 300\n")
    built = conversation_settings(settings.conversation)
    assert (built.speculation_ms, built.interruption.short_ms) == (200, 300)
    assert conversation_settings(load(tmp_path).conversation) == ConversationSettings()
    with pytest.raises(ConfigError, match=r"yaml:3: unknown key `conversation.interruption.shrt_ms`; did you mean"):
        load(tmp_path, yaml="conversation:\n  interruption:\n    shrt_ms: 300\n")
    with pytest.raises(ConfigError, match="greater than or equal to 0"):
        load(tmp_path, yaml="conversation:\n  speculation_ms: -1\n")


def test_aliases_of_aliases_are_refused_before_they_are_written_out(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    file = tmp_path / "bomb.yaml"
    file.write_text("\n".join(lines))
    with pytest.raises(ConfigError, match=r"bomb\.yaml: more than .* aliases"):
        read_document(file)
