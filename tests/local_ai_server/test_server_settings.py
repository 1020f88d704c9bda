"""Settings: what is read, and what is refused with which words."""

from pathlib import Path

import pytest

import local_ai_server
from local_ai_server.backends.backend import Machine
from local_ai_server.backends.options import OptionsError
from local_ai_server.backends.registry import BACKENDS, backend
from local_ai_server.settings import Settings, SettingsError, read_settings


def read(tmp_path, text="", **process):
    env_file = tmp_path / ".env"
    env_file.write_text(text)
    return read_settings(env_file, process)


def test_the_defaults_listen_on_loopback_only(tmp_path):
    settings = read(tmp_path)
    assert (settings.host, settings.port) == ("127.0.0.1", 8765)
    assert settings.is_loopback


def test_the_process_wins_over_the_file(tmp_path):
    assert read(tmp_path, "LOCAL_WS_PORT=1\n", LOCAL_WS_PORT="2").port == 2
    assert read(tmp_path, "LOCAL_WS_PORT=1\n").port == 1


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", ""])
def test_a_reachable_address_without_a_token_is_refused(tmp_path, host):
    if not host:
        assert read(tmp_path, LOCAL_WS_HOST=host).is_loopback  # not set
        return
    with pytest.raises(SettingsError, match="LOCAL_WS_AUTH_TOKEN"):
        read(tmp_path, LOCAL_WS_HOST=host)
    assert not read(tmp_path, LOCAL_WS_HOST=host, LOCAL_WS_AUTH_TOKEN="x").is_loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_needs_none(tmp_path, host):
    assert read(tmp_path, LOCAL_WS_HOST=host).is_loopback


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LOCAL_WS_PORT", "eighty"),
        ("LOCAL_WS_PORT", "70000"),
        ("LOCAL_AI_MODE", "fast"),
        ("LOCAL_LLM_THREADS", "0"),
        ("LOCAL_LLM_CONTEXT", "10"),
        ("ENABLE_STT", "maybe"),
        ("FASTER_WHISPER_CONTEXT_S", "5"),
        ("LOCAL_LOG_LEVEL", "loud"),
    ],
)
def test_a_bad_value_is_named_by_its_variable(tmp_path, name, value):
    with pytest.raises(SettingsError, match=name) as caught:
        read(tmp_path, **{name: value})
    assert len(str(caught.value).splitlines()) == 1


def test_a_misspelt_name_in_the_file_is_refused_with_line_and_the_nearest(tmp_path):
    with pytest.raises(SettingsError, match=r"\.env:2: unknown variable LOCAL_WS_PROT; did you mean LOCAL_WS_PORT"):
        read(tmp_path, "# mine\nLOCAL_WS_PROT=1\n")


def test_other_parts_variables_are_left_to_them(tmp_path):
    assert read(tmp_path, "ASTERISK_HOST=1.2.3.4\nLOCAL_WS_URL=ws://x\nJWT_SECRET=s\n").port == 8765


@pytest.mark.parametrize(
    ("process", "loads"),
    [
        ({"LOCAL_AI_MODE": "full", "GPU_AVAILABLE": "false"}, True),
        ({"LOCAL_AI_MODE": "minimal", "GPU_AVAILABLE": "true"}, False),
        ({"GPU_AVAILABLE": "false"}, False),
        ({"GPU_AVAILABLE": "true"}, True),
    ],
)
def test_the_llm_is_loaded_in_mode_full_or_where_there_is_a_gpu(tmp_path, process, loads):
    settings = read(tmp_path, **process)
    assert settings.preloads_llm is loads


def test_every_setting_is_documented_and_does_something():
    package = Path(local_ai_server.__file__).parent
    example = (package.parent / ".env.example").read_text()
    code = "\n".join(path.read_text() for path in package.rglob("*.py") if path.name != "settings.py")
    own = (package / "settings.py").read_text()
    for field, info in Settings.model_fields.items():
        if info.validation_alias is None:
            continue
        variable = info.validation_alias.choices[0]
        assert f"#{variable}=" in example, variable
        assert f"settings.{field}" in code or f"self.{field}" in own, field


def test_every_option_of_a_backend_is_documented():
    example = (Path(local_ai_server.__file__).parent.parent / ".env.example").read_text()
    for each in BACKENDS:
        for field, names in each.options.variables().items():
            assert names, f"{each.name}: {field} has no variable"
            assert any(f"#{name}=" in example for name in names), (each.name, names)


def test_a_backends_options_come_from_file_and_process(tmp_path):
    settings = read(tmp_path, "LOCAL_LLM_CONTEXT=512\n", LOCAL_LLM_PARALLEL="2")
    options = settings.options_of(backend("llm", "llama_cpp"))
    assert (options.context_tokens, options.parallel) == (512, 2)
    assert options.changed({"parallel": 3}).context_tokens == 512
    with pytest.raises(OptionsError, match="LOCAL_LLM_PARALLEL"):
        options.changed({"parallel": 0})
    with pytest.raises(OptionsError, match="no option 'sockets'"):
        options.changed({"sockets": 1})


@pytest.mark.models
@pytest.mark.parametrize(("gpu", "tokens"), [(False, 768), (True, 2048)])
def test_a_session_has_more_context_on_a_gpu(gpu, tokens):
    llm = backend("llm", "llama_cpp")
    assert llm.plan(llm.options(), Machine(has_gpu=gpu)).traits["context_tokens"] == tokens


def test_a_key_does_not_go_to_an_address_it_was_not_given_for(tmp_path):
    settings = read(tmp_path, LOCAL_LLM_API_BASE_URL="http://127.0.0.1:1/v1", LOCAL_LLM_API_KEY="of-the-first")
    options = settings.options_of(backend("llm", "openai_compatible"))
    assert options.changed({"model": "m"}).api_key.get_secret_value() == "of-the-first"
    elsewhere = options.changed({"base_url": "http://127.0.0.1:2/v1"})
    assert "of-the-first" not in str(elsewhere.api_key.get_secret_value() if elsewhere.api_key else "")
    both = options.changed({"base_url": "http://127.0.0.1:2/v1", "api_key": "of-the-second"})
    assert both.api_key.get_secret_value() == "of-the-second"


@pytest.mark.models
@pytest.mark.parametrize(
    ("free_mib", "set_tokens", "all_layers", "tokens"),
    [(100_000, None, True, 2048), (1_000, 4096, None, 4096), (300, None, False, None)],
)
def test_layers_and_context_follow_the_gpus_free_memory(free_mib, set_tokens, all_layers, tokens):
    llm = backend("llm", "llama_cpp")
    everything = llm.plan(llm.options(), Machine(has_gpu=True, gpu_free_bytes=100_000 << 20)).load["gpu_layers"]
    assert everything > 1
    options = llm.options() if set_tokens is None else llm.options(context_tokens=set_tokens)
    load = llm.plan(options, Machine(has_gpu=True, gpu_free_bytes=free_mib << 20)).load
    assert all_layers is None or (load["gpu_layers"] == everything) is all_layers
    assert tokens is None or load["context_tokens"] == tokens
    own = llm.plan(llm.options(gpu_layers=3), Machine(has_gpu=True, gpu_free_bytes=0)).load
    assert own["gpu_layers"] == 3


@pytest.mark.models
@pytest.mark.parametrize(
    ("gpu", "given", "device", "compute_type"),
    [
        (False, {}, "cpu", "int8"),
        (True, {}, "cuda", "auto"),
        (True, {"device": "cpu"}, "cpu", "int8"),
        (True, {"compute_type": "INT8"}, "cuda", "int8"),
        (False, {"compute_type": "float32"}, "cpu", "float32"),
    ],
)
def test_whisper_runs_where_and_as_the_machine_allows(gpu, given, device, compute_type):
    stt = backend("stt", "faster_whisper")
    load = stt.plan(stt.options().changed(given), Machine(has_gpu=gpu)).load
    assert (load["device"], load["compute_type"]) == (device, compute_type)


@pytest.mark.models
def test_what_a_language_model_is_said_to_hold_grows_with_its_context():
    llm = backend("llm", "llama_cpp")

    def needed_mib(**options):
        return (llm.plan(llm.options(**options), Machine()).memory_bytes or 0) >> 20

    small = needed_mib(context_tokens=768, parallel=8)
    assert 359 <= small <= 500, "measured at 359"
    assert needed_mib(context_tokens=8192, parallel=8) > small + 1000
    assert needed_mib(context_tokens=768, parallel=1) < small
