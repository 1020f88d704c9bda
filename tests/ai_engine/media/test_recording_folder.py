"""Names, retention and what a killed writer left: nothing but old recordings is ever deleted."""

from __future__ import annotations

import os
import shutil
import stat
import wave

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_engine.media.recording_folder import RecordingFolder
from ai_engine.media.wav_file import wav_header

NOW = 1_795_288_463.0  # 2026-11-21 19:14:23 UTC
DAY = 86_400.0


def folder(path, **rules):
    return RecordingFolder(path, wall_clock=lambda: NOW, **rules)


def kept(path, name, *, age_s, size=1000):
    """A recording of that age."""
    file = path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(wav_header(8000, 2, size - 80) + bytes(size - 80))
    os.utime(file, (NOW - age_s, NOW - age_s))
    return file


def names(path):
    return sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())


def test_a_name_tells_day_time_and_call(tmp_path):
    path, file = folder(tmp_path / "r").begin("4f1c09d2a7be", 8000)
    file.close()
    assert path == tmp_path / "r" / "2026-11-21" / "20261121T191423Z_4f1c09d2a7be.wav.part"
    for made in (tmp_path / "r", path.parent):
        assert stat.S_IMODE(made.stat().st_mode) == 0o700
    assert folder(tmp_path / "r").end(path).name == "20261121T191423Z_4f1c09d2a7be.wav"
    assert names(tmp_path / "r") == ["2026-11-21/20261121T191423Z_4f1c09d2a7be.wav"]


def test_a_second_one_of_the_same_call_and_second_has_a_name_of_its_own(tmp_path):
    place = folder(tmp_path)
    first, one = place.begin("c1", 8000)
    second, two = place.begin("c1", 8000)
    one.close()
    place.end(first)
    third, three = place.begin("c1", 8000)
    two.close()
    three.close()
    assert len({first, second, third}) == 3


@given(st.text(max_size=80) | st.sampled_from(["../../etc/x", "a/b", "..", "a\0b", "a.wav", "ä", "a\n", "x" * 65, ""]))
def test_no_call_id_leads_out_of_the_folder(tmp_path_factory, call_id):
    home = tmp_path_factory.getbasetemp() / "ids"
    try:
        path, file = folder(home / "r").begin(call_id, 8000)
    except ValueError:
        assert not call_id.isascii() or not call_id.replace("-", "").replace("_", "").isalnum() or len(call_id) > 64
        return
    file.close()
    assert path.resolve().parent == (home / "r" / "2026-11-21").resolve()


def test_the_oldest_go_first_until_the_rest_fits(tmp_path):
    for age in range(6):
        kept(tmp_path, f"2026-11-1{age}/2026111{age}T101010Z_c{age}.wav", age_s=(6 - age) * DAY, size=100_000)
    swept = folder(tmp_path, keep_mb=0.25).sweep()
    assert (swept.deleted, swept.freed_bytes) == (4, 400_000)
    assert [name[-6:] for name in names(tmp_path)] == ["c4.wav", "c5.wav"]
    assert len(list(tmp_path.iterdir())) == 2, "empty days go with their recordings"


def test_what_is_too_old_goes(tmp_path):
    old = kept(tmp_path, "2026-10-01/20261001T101010Z_old.wav", age_s=30 * DAY + 1)
    young = kept(tmp_path, "2026-11-20/20261120T101010Z_young.wav", age_s=30 * DAY - 1)
    assert folder(tmp_path, keep_days=30).sweep().deleted == 1
    assert (old.exists(), young.exists()) == (False, True)


def test_without_rules_all_is_kept(tmp_path):
    kept(tmp_path, "2020-10-01/20201001T101010Z_old.wav", age_s=2000 * DAY)
    assert folder(tmp_path).sweep().deleted == 0
    assert len(names(tmp_path)) == 1


def test_a_live_recording_is_never_taken(tmp_path):
    live = folder(tmp_path)
    path, file = live.begin("live", 8000)
    file.write(bytes(400_000))
    os.utime(path, (NOW - 90 * DAY, NOW - 90 * DAY))
    kept(tmp_path, "2026-11-20/20261120T101010Z_done.wav", age_s=60)
    swept = folder(tmp_path, keep_days=1, keep_mb=0.0001).sweep()
    assert (swept.mended, swept.deleted) == (0, 1)
    assert path.exists()
    file.close()


def test_what_a_killed_writer_left_is_mended_and_named(tmp_path):
    place = folder(tmp_path)
    path, file = place.begin("killed", 8000)
    file.write(bytes(32_000))
    file.close()
    with path.open("ab") as raw:
        raw.write(bytes(3202))  # after the last header, and half a sample
    assert place.sweep().mended == 0, "not before a minute has passed"
    os.utime(path, (NOW - 61, NOW - 61))
    assert place.sweep().mended == 1
    with wave.open(str(path.with_suffix("")), "rb") as reader:
        assert reader.getnframes() == 35_200 // 4


def test_what_it_left_without_any_sound_goes(tmp_path):
    path = kept(tmp_path, "2026-11-20/20261120T101010Z_none.wav.part", age_s=100, size=80)
    assert folder(tmp_path).sweep().mended == 0
    assert not path.exists()


FOREIGN = (
    "notes.txt",
    "2026-11-20/notes.wav",
    "2026-11-20/20261120T101010Z_c1.wav.bak",
    "2026-11-20/20261120T101010Z_c1.mp3",
    "other/20261120T101010Z_c1.wav",
    "2026-11-20/deeper/20261120T101010Z_c1.wav",
)


def test_nothing_else_in_the_folder_is_touched(tmp_path):
    for name in FOREIGN:
        kept(tmp_path, name, age_s=1000 * DAY)
    outside = kept(tmp_path.parent, f"{tmp_path.name}-outside/20261120T101010Z_c1.wav", age_s=1000 * DAY)
    (tmp_path / "2026-11-19").symlink_to(outside.parent)
    (tmp_path / "2026-11-20" / "20261120T101010Z_c9.wav").symlink_to(outside)
    assert folder(tmp_path, keep_days=1, keep_mb=0.001).sweep().deleted == 0
    assert outside.exists()
    assert set(FOREIGN) <= set(names(tmp_path))


def test_a_folder_that_is_not_there_is_swept_all_the_same(tmp_path):
    assert folder(tmp_path / "none", keep_days=1).sweep().deleted == 0


@pytest.mark.parametrize(("free_mb", "begins"), [(499, False), (501, True)])
def test_below_the_floor_none_begins(tmp_path, monkeypatch, free_mb, begins):
    usage = shutil.disk_usage(tmp_path)._replace(free=free_mb * 1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    reason = folder(tmp_path, min_free_mb=500).lacks_room()
    assert (reason == "") is begins
    assert begins or "min_free_mb asks for 500" in reason
    assert folder(tmp_path, min_free_mb=0).lacks_room() == ""


def test_a_calls_recordings_are_deleted_complete_or_not_and_no_others(tmp_path):
    began = "2026-11-20/20261120T120000Z_"
    for tail in ("c1.wav", "c1_1.wav", "c1_2.wav.part"):
        kept(tmp_path, began + tail, age_s=0)
    others = [began + tail for tail in ("c11.wav", "xc1.wav", "c2.wav")]
    for name in others:
        kept(tmp_path, name, age_s=0)
    (tmp_path / "2026-11-20" / "notes_c1.wav").write_text("somebody else's")
    where = folder(tmp_path)
    for nobody in ("c3", ".*", "c", "", "../c1", "c1.wav"):
        assert where.delete_call(nobody) == 0
    assert len(where.of_call("c1")) == 3
    assert where.delete_call("c1") == 3
    assert where.of_call("c1") == []
    assert names(tmp_path) == sorted([*others, "2026-11-20/notes_c1.wav"])
