"""sherpa-onnx's own library on models that are made for the test (`made_zipformer`): real ones do not install here."""

import threading

import pytest

from local_ai_server.backends.backend import BackendUnusable, Machine
from local_ai_server.backends.stt import sherpa
from local_ai_server.backends.stt.onnx_metadata import NotOnnx, read_metadata
from local_ai_server.backends.stt.sherpa_models import UnknownSherpaModel, find_sherpa_model
from voice_wire.audio import PCM_8K, PCM_16K, convert

pytest.importorskip("onnx", reason="the models of this test are made with onnx: pip install 'parley[dev]'")
import onnx
from onnx import TensorProto, helper

from tests.local_ai_server.backends.stt.made_zipformer import loud, make_zipformer, make_zipformer_ctc, quiet

needs_sherpa = pytest.mark.skipif(
    sherpa.BACKEND.missing() is not None, reason="sherpa-onnx is not installed: pip install 'parley[sherpa]'"
)
NEVER = threading.Event()


def plan_for(path):
    return sherpa.plan(sherpa.Options(model_path=path), Machine())


def loaded(path):
    model = sherpa.SherpaModel()
    model.load(**plan_for(path).load)
    return model


@pytest.fixture(scope="module")
def zipformer(tmp_path_factory):
    return make_zipformer(tmp_path_factory.mktemp("zipformer"))


@needs_sherpa
def test_words_come_while_the_caller_speaks_and_the_last_one_at_the_end(zipformer):
    model = loaded(zipformer)
    model.canary(b"", NEVER)
    audio = quiet(0.32) + loud(0.48) + quiet(0.32) + loud(0.32)
    texts, position = [], 0
    while position < len(audio):
        answer, _ = model.feed(audio[position : position + 3200], NEVER, stream="a", position=position)
        position = answer["position"]
        if answer["text"] not in texts:
            texts.append(answer["text"])
    assert texts[:3] == ["", "One", "One two"]
    guess, _ = model.finish(b"", NEVER, stream="a", position=position, keep=True)
    final, _ = model.finish(b"", NEVER, stream="a", position=position)
    assert guess["text"] == final["text"] == "One two three four five"
    assert 0 < final["confidence"] <= 1
    assert len(texts[-1]) < len(final["text"]), "the model was a chunk behind"


@needs_sherpa
def test_a_stream_goes_on_after_a_guess(zipformer):
    model = loaded(zipformer)
    first = loud(0.32)
    guess, _ = model.finish(first, NEVER, stream="a", keep=True)
    assert guess["text"] == "One two"
    model.feed(loud(0.32), NEVER, stream="a", position=len(first))
    final, _ = model.finish(b"", NEVER, stream="a", position=2 * len(first))
    assert final["text"].startswith("One two three")


@needs_sherpa
def test_silence_has_no_words_and_telephone_audio_does(zipformer):
    model = loaded(zipformer)
    assert model.transcribe(quiet(1), NEVER)[0]["text"] == ""
    narrow = convert(loud(0.48), PCM_16K, PCM_8K)
    assert model.transcribe(narrow, NEVER, sample_rate_hz=8000)[0]["text"].startswith("One two")


@needs_sherpa
def test_a_model_for_whole_utterances_runs_too_and_is_not_said_to_stream(tmp_path):
    plan = plan_for(make_zipformer_ctc(tmp_path))
    assert plan.load["family"] == "zipformer_ctc"
    assert (plan.traits["streams"], plan.traits["needs_gating"]) == (False, True)
    model = loaded(tmp_path)
    assert model.transcribe(quiet(0.3) + loud(0.5) + quiet(0.3), NEVER)[0]["text"] == "One"
    assert model.transcribe(loud(0.3) + quiet(0.5) + loud(0.3), NEVER)[0]["text"] == "One one"


def test_a_streaming_transducer_is_told_by_its_files(zipformer):
    found = find_sherpa_model(zipformer)
    assert (found.family, found.streams) == ("transducer", True)
    assert found.files["encoder"].endswith("encoder-made.int8.onnx")
    assert plan_for(zipformer).traits["needs_gating"] is False


def test_the_smaller_weights_are_taken(tmp_path):
    make_zipformer(tmp_path)
    (tmp_path / "encoder-made.onnx").write_bytes((tmp_path / "encoder-made.int8.onnx").read_bytes())
    assert find_sherpa_model(tmp_path).files["encoder"].endswith(".int8.onnx")


def test_a_transducer_without_chunks_takes_whole_utterances(tmp_path):
    found = find_sherpa_model(make_zipformer(tmp_path, streaming=False))
    assert (found.family, found.streams) == ("transducer", False)


FAMILIES = [
    ({"model": {"model_type": "sense_voice_ctc"}}, ("sense_voice", False)),
    ({"model": {"model_type": "paraformer"}}, ("paraformer", False)),
    ({"model": {"model_type": "EncDecCTCModelBPE"}}, ("nemo_ctc", False)),
    ({"model": {"window_size": "16", "cache_last_channel_dim1": "1"}}, ("nemo_ctc", True)),
    ({"model": {"model_type": "zipformer2", "decode_chunk_len": "32"}}, ("zipformer2_ctc", True)),
    ({"model": {"model_type": "wenet_ctc"}}, ("wenet_ctc", False)),
    ({"tiny-encoder": {"model_type": "whisper-tiny.en"}, "tiny-decoder": {}}, ("whisper", False)),
    ({"encoder": {"encoder_output_size": "512"}, "decoder": {}}, ("paraformer", True)),
    ({"preprocess": {}, "encode.int8": {}, "uncached_decode.int8": {}, "cached_decode.int8": {}}, ("moonshine", False)),
]


def write_model(path, metadata):
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    model = helper.make_model(helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [x], [y]))
    helper.set_model_props(model, metadata)
    onnx.save(model, str(path))


@pytest.mark.parametrize(("files", "family"), FAMILIES, ids=lambda value: str(value)[:40])
def test_families_are_told_apart(tmp_path, files, family):
    (tmp_path / "tokens.txt").write_text("<blk> 0\n")
    for name, metadata in files.items():
        write_model(tmp_path / f"{name}.onnx", metadata)
    found = find_sherpa_model(tmp_path)
    assert (found.family, found.streams) == family


def test_what_is_no_model_is_refused_with_what_would_be(tmp_path):
    with pytest.raises(UnknownSherpaModel, match=r"no tokens\.txt"):
        find_sherpa_model(tmp_path)
    (tmp_path / "tokens.txt").write_text("<blk> 0\n")
    with pytest.raises(UnknownSherpaModel, match=r"no \.onnx file"):
        find_sherpa_model(tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"<html>not found</html>")
    with pytest.raises(BackendUnusable, match="download the model again"):
        plan_for(tmp_path)
    write_model(tmp_path / "model.onnx", {"model_type": "gpt"})
    with pytest.raises(UnknownSherpaModel, match="says that it is 'gpt'"):
        find_sherpa_model(tmp_path)
    with pytest.raises(BackendUnusable, match="SHERPA_MODEL_PATH"):
        sherpa.plan(sherpa.Options(), Machine())


def test_metadata_is_read_without_the_graph(tmp_path):
    write_model(tmp_path / "model.onnx", {"model_type": "zipformer2", "umlaut": "ä" * 300})
    assert read_metadata(tmp_path / "model.onnx") == {"model_type": "zipformer2", "umlaut": "ä" * 300}
    whole = (tmp_path / "model.onnx").read_bytes()
    for cut in range(1, len(whole), 7):
        (tmp_path / "cut.onnx").write_bytes(whole[:cut])
        try:
            read_metadata(tmp_path / "cut.onnx")
        except NotOnnx:
            pass
