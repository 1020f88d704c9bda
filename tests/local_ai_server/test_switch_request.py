"""What a switch_model message means, and which files it may name."""

from pathlib import Path

import pytest

from local_ai_server.backends.registry import BACKENDS, backend
from local_ai_server.building import base_options
from local_ai_server.model_kinds import infer_backend
from local_ai_server.model_roots import ModelRoots, PathRefused, model_roots
from local_ai_server.settings import Settings
from local_ai_server.switch_request import SwitchRefused, Target, read_switch
from voice_wire.messages import SwitchModel


@pytest.fixture
def models(tmp_path):
    """A models directory with a file or folder of each kind, empty inside."""
    root = tmp_path / "models"
    for name in (
        "stt/whisper/model.bin",
        "stt/whisper/config.json",
        "stt/vosk-en/am/final.mdl",
        "stt/ggml-tiny.bin",
        "stt/zipformer/tokens.txt",
        "stt/zipformer/encoder.onnx",
        "kroko/en.data",
        "kroko/encoder.onnx",
        "stt/other.data",
        "stt/lonely.onnx",
        "llm/small.gguf",
        "tts/joe.onnx",
        "tts/joe.onnx.json",
        "tts/kokoro/model.onnx",
        "tts/kokoro/voices/a.bin",
        "tts/melo/checkpoint.pth",
        "tts/melo/config.json",
        "tts/what.bin",
    ):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


INFERRED = [
    ("stt", "stt/whisper", "faster_whisper"),
    ("stt", "stt/whisper/model.bin", "faster_whisper"),
    ("stt", "stt/vosk-en", "vosk"),
    ("stt", "stt/ggml-tiny.bin", "whisper_cpp"),
    ("stt", "stt/zipformer", "sherpa"),
    ("stt", "kroko/en.data", "kroko"),
    ("stt", "kroko/encoder.onnx", "kroko"),
    ("stt", "stt/other.data", "kroko"),
    ("stt", "stt/lonely.onnx", None),
    ("llm", "llm/small.gguf", "llama_cpp"),
    ("llm", "stt/whisper", None),
    ("tts", "tts/joe.onnx", "piper"),
    ("tts", "tts/kokoro", "kokoro"),
    ("tts", "tts/kokoro/model.onnx", "kokoro"),
    ("tts", "tts/melo", "melotts"),
    ("tts", "tts/what.bin", None),
]


@pytest.mark.parametrize(("kind", "name", "engine"), INFERRED)
def test_the_files_tell_whose_they_are(models, kind, name, engine):
    assert infer_backend(kind, models / name) == engine


def read(models, running=(), variables=None, **fields):
    variables = variables or {}
    settings = Settings.model_validate({"LOCAL_STT_BACKEND": "faster_whisper", "backend_variables": variables})
    now = {}
    for kind, name, options in running:
        found = backend(kind, name)
        now[kind] = Target(backend=found, options=settings.options_of(found).changed(options))
    targets = read_switch(
        SwitchModel.model_validate(fields),
        running=now,
        chosen=settings.backend,
        configured=lambda found: base_options(settings, found),
        roots=ModelRoots([models]),
    )
    return {kind: (target.backend.name, target.options) for kind, target in targets.items()}


def test_options_stay_where_the_engine_stays(models):
    running = [("tts", "piper", {"speed": 1.5, "threads": 1})]
    name, options = read(models, running, tts_config={"threads": 2})["tts"]
    assert (name, options.threads, options.speed) == ("piper", 2, 1.5)


def test_the_environment_is_the_base_where_the_engine_changes(models):
    running = [("tts", "piper", {"speed": 1.5})]
    name, options = read(models, running, {"KOKORO_VOICE": "af_bella"}, tts_backend="Kokoro")["tts"]
    assert (name, options.voice, options.speed) == ("kokoro", "af_bella", 1.0)


def test_the_configured_engines_model_is_not_taken_for_anothers(models):
    variables = {"LOCAL_STT_MODEL_PATH": str(models / "stt/whisper")}
    _, options = read(models, (), variables, stt_backend="vosk")["stt"]
    assert options.model_path is None
    _, options = read(models, (), variables, stt_backend="faster_whisper")["stt"]
    assert options.model_path == models / "stt/whisper"


def test_a_path_alone_chooses_the_engine(models):
    running = [("stt", "faster_whisper", {})]
    name, options = read(models, running, stt_model_path=str(models / "stt/vosk-en"))["stt"]
    assert (name, options.model_path) == ("vosk", models / "stt/vosk-en")


def test_an_engines_own_field_chooses_it(models):
    found = read(models, [("stt", "vosk", {})], sherpa_model_path=str(models / "stt/zipformer"), kokoro_voice="af_sky")
    assert found["stt"][0] == "sherpa"
    assert found["stt"][1].model_path == models / "stt/zipformer"
    assert (found["tts"][0], found["tts"][1].voice) == ("kokoro", "af_sky")
    assert list(found) == ["stt", "tts"]


@pytest.mark.parametrize("name", ["kroko/en.data", "kroko/encoder.onnx", "stt/other.data"])
def test_krokos_own_files_mean_its_embedded_engine_never_the_cloud(models, name):
    running = [("stt", "kroko", {"embedded": False, "url": "wss://example.org/asr"})]
    for fields in ({"stt_backend": "kroko", "stt_model_path": name}, {"kroko_model_path": name}):
        assert read(models, running, **fields)["stt"][1].embedded is True
    with pytest.raises(SwitchRefused, match="kroko_embedded"):
        read(models, running, kroko_model_path=name, kroko_embedded=False)


def test_a_key_is_not_sent_to_another_address(models):
    running = [("tts", "kokoro", {"api_base_url": "https://one.example/v1", "api_key": "secret"})]
    _, options = read(models, running, kokoro_api_base_url="https://two.example/v1")["tts"]
    assert options.api_key is None
    _, options = read(models, running, kokoro_voice="af_sky")["tts"]
    assert options.api_key.get_secret_value() == "secret"
    _, options = read(models, running, kokoro_api_base_url="https://two.example/v1", kokoro_api_key="new")["tts"]
    assert options.api_key.get_secret_value() == "new"


REFUSED = [
    ({}, "names nothing"),
    ({"dry_run": True, "stt_backend": ""}, "names nothing"),
    ({"stt_backend": "ears"}, "choose one of: faster_whisper"),
    ({"tts_config": {"loud": 1}}, "there are: model_path, speed, threads"),
    ({"tts_config": {"speed": "fast"}}, "LOCAL_TTS_SPEED"),
    ({"stt_model": "x"}, "stt_model is no field"),
    ({"kokoro_colour": "x"}, "there are: kokoro_api_base_url"),
    ({"stt_backend": "vosk", "sherpa_model_path": "stt/zipformer"}, "sherpa_model_path is for sherpa"),
    ({"sherpa_model_path": "stt/zipformer", "kroko_port": 1}, "kroko and sherpa"),
    ({"stt_backend": "kroko", "stt_config": {"server_path": "kroko/en.data"}}, "environment only"),
    ({"llm_model_path": "llm/none.gguf"}, "no such model"),
    ({"tts_backend": "kokoro", "kokoro_api_key": "two\r\nlines: 1"}, "KOKORO_API_KEY"),
    ({"llm_backend": "openai_compatible", "llm_config": {"api_key": "schl\u00fcssel"}}, "LOCAL_LLM_API_KEY"),
]


@pytest.mark.parametrize(("fields", "words"), REFUSED)
def test_what_cannot_be_is_refused_with_what_could(models, fields, words):
    with pytest.raises(SwitchRefused, match=words):
        read(models, [("tts", "piper", {})], **fields)


def test_unknown_backends_have_their_own_code(models):
    with pytest.raises(SwitchRefused) as caught:
        read(models, llm_backend="brain")
    assert caught.value.code == "unknown_backend"


def test_only_the_model_folders_can_be_named_and_all_refusals_are_alike(models, tmp_path):
    outside = tmp_path / "secret.gguf"
    outside.touch()
    (models / "llm/link.gguf").symlink_to(outside)
    roots = ModelRoots([models])
    texts = set()
    names = [str(outside), "../secret.gguf", str(models / "../secret.gguf"), "/nowhere", "/etc/passwd", "llm/x"]
    names += ["~nobody-of-this-name/x", "~root/x", str(models / ("x" * 300)), "llm/\0"]
    for name in names:
        with pytest.raises(PathRefused) as caught:
            roots.find(name, "llm")
        texts.add(str(caught.value))
    assert len(texts) == 1
    assert "LOCAL_MODEL_ROOTS" in texts.pop()
    assert roots.find("llm/link.gguf", "llm") == models / "llm/link.gguf"  # the operator made the link
    assert roots.find("models/llm/small.gguf", "llm") == models / "llm/small.gguf"


def test_paths_within_a_config_are_held_to_the_same(models, tmp_path):
    (tmp_path / "voice.onnx").touch()
    with pytest.raises(SwitchRefused, match="no such model"):
        read(models, tts_config={"model_path": str(tmp_path / "voice.onnx")})


def test_a_catalogue_models_name_is_a_path_or_the_command_that_gets_it(models, monkeypatch):
    monkeypatch.setenv("PARLEY_MODELS_DIR", str(models))
    with pytest.raises(SwitchRefused, match="embedded install whisper-base"):
        read(models, stt_model_path="whisper-base")


def test_the_roots_are_the_models_the_cache_what_is_configured_and_what_is_added(tmp_path, monkeypatch):
    monkeypatch.setenv("PARLEY_MODELS_DIR", str(tmp_path / "models"))
    environment = {"HF_HOME": str(tmp_path / "hf")}
    roots = model_roots(f"{tmp_path}/one:{tmp_path}/two", [tmp_path / "mine/a.gguf", Path("/b.gguf")], environment)
    names = ["models", "hf/hub", "mine"]
    assert roots.folders[:3] == tuple(tmp_path / name for name in names)
    assert roots.folders[3:] == (Path("/b.gguf"), tmp_path / "one", tmp_path / "two")


def test_no_engines_name_begins_with_a_kinds():
    """Else `stt_…` could mean two things."""
    assert not [b.name for b in BACKENDS if b.name.startswith(("stt_", "tts_", "llm_"))]
