"""Recordings in folders: any rate, length and number of channels, damage, and another site that reads alike."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from sglr.core.data import Dataset
from sglr.core.errors import UsageError
from sglr.data.audio.mel import log_mel, mel_filters
from sglr.data.audio.schema import AudioSchema
from sglr.data.load import load_dataset

RATE = 8000


def tone(hertz: float, seconds: float = 0.25, rate: int = RATE) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, hertz in (("deep tone", 200), ("höhe", 1500)):
        (tmp_path / "recordings" / name / "speaker 1").mkdir(parents=True)
        for number in range(6):
            file = tmp_path / "recordings" / name / ("speaker 1" if number < 3 else "") / f"{number}.wav"
            soundfile.write(file, tone(hertz), RATE)
    return tmp_path / "recordings"


def load(root: Path, **parameters: object) -> Dataset:
    return load_dataset(f"audio:{root}", None, {"rate": RATE, "seconds": 0.25, **parameters})


def refused(root: Path, **parameters: object) -> str:
    with pytest.raises(UsageError) as raised:
        load(root, **parameters)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_recording_is_its_wave_and_its_folder_its_class(root: Path) -> None:
    data = load(root)
    assert data.classes == ("deep tone", "höhe")
    assert data.train.inputs.shape == (9, 1, 2000)
    assert len(data.test) == 3
    assert data.notes == ()
    first = data.train.inputs[data.train.targets == 0][0, 0].numpy()
    np.testing.assert_allclose(first, tone(200), atol=1e-4)  # 16 bits


@pytest.mark.parametrize(
    ("changed", "note"),
    [
        (lambda: (np.stack([tone(200), np.zeros(2000)], 1), RATE), "1 of 13 recordings have several channels"),
        (lambda: (tone(200, 0.4), RATE), "1 of 13 recordings were longer than 0.25 seconds"),
        (lambda: (tone(200, 0.1), RATE), "1 of 13 recordings were shorter than 0.25 seconds"),
        (lambda: (tone(200, rate=11025), 11025), "1 of 13 recordings were resampled to 8000 Hz, from 11025 Hz"),
    ],
)
def test_what_differs_is_made_alike_and_told(root: Path, changed, note: str) -> None:
    wave, rate = changed()
    soundfile.write(root / "deep tone" / "other.flac", wave, rate)
    data = load(root)
    assert len([each for each in data.notes if note in each]) == 1
    assert data.input_shape == (1, 2000)


def test_resampled_tones_are_those_of_the_wanted_rate(root: Path) -> None:
    for number in range(6):
        soundfile.write(root / "höhe" / f"{number}.wav", tone(1500, rate=44100), 44100)
    waves = load(root).train
    found = waves.inputs[waves.targets == 1][:, 0, 100:1900].numpy()
    assert any(np.abs(wave - tone(1500)[100:1900]).max() < 0.01 for wave in found)


def test_speakers_stay_on_one_side_and_can_be_clients(root: Path) -> None:
    for name in ("deep tone", "höhe"):
        (root / name / "speaker 2").mkdir()
        for file in root.glob(f"{name}/*.wav"):
            file.rename(root / name / "speaker 2" / file.name)
    data = load(root, group="folder", test_fraction=0.5)
    assert {*data.train.columns["folder"]} != {*data.test.columns["folder"]}
    assert not {*data.train.columns["folder"]} & {*data.test.columns["folder"]}
    assert data.group == "folder"


def test_a_tone_is_loudest_in_the_band_around_it() -> None:
    schema = AudioSchema(classes=("a", "b"), rate=RATE, seconds=0.25, features="mel", mel_bands=32)
    for hertz in (300.0, 1000.0, 3000.0):
        levels = log_mel(tone(hertz).astype(np.float32), schema)
        assert levels.shape == schema.input_shape[1:]
        nearest = mel_filters(32, 4096, RATE)[:, round(hertz / (RATE / 2) * 2048)].argmax()
        assert set(levels.argmax(axis=0)) == {nearest}
        assert levels.mean() == pytest.approx(0, abs=1e-5)
        assert levels.std() == pytest.approx(1, abs=1e-5)
    assert np.isfinite(log_mel(np.zeros(2000, np.float32), schema)).all()


def test_another_site_reads_by_the_schema_of_the_run(root: Path, tmp_path: Path) -> None:
    own = load(root, features="mel", mel_bands=16)
    other = tmp_path / "other"
    (other / "höhe").mkdir(parents=True)
    for number in range(3):
        soundfile.write(other / "höhe" / f"{number}.ogg", tone(1500, 0.3, 16000), 16000)
    read = load_dataset(f"audio:{other}", None, {"schema": dict(own.encoding)})
    assert (read.classes, read.input_shape) == (own.classes, own.input_shape)
    assert set(read.train.targets.tolist()) == {1}
    assert read.encoding == own.encoding
    again = load_dataset(f"audio:{root}", None, {"schema": dict(own.encoding)})
    assert torch.equal(again.train.inputs, own.train.inputs)
    assert "seconds = 0.5: the schema decides this" in refused(root, schema=dict(own.encoding), seconds=0.5)


def test_a_damaged_recording_is_named_or_skipped(root: Path) -> None:
    (root / "höhe" / "broken.flac").write_bytes(b"fLaC but no more")
    told = refused(root)
    assert told.startswith(f"file = {root}/höhe/broken.flac: cannot be read (")
    assert "--on-bad skip" in told
    data = load(root, on_bad="skip")
    assert len(data.train) + len(data.test) == 12
    assert "1 of 13 files can't be read and were skipped: höhe/broken.flac (" in data.notes[0]
    (root / "höhe" / "broken.flac").unlink()
    soundfile.write(root / "höhe" / "silent.wav", tone(200)[:0], RATE)
    assert "it has no samples" in refused(root)
    for file in (root / "höhe").rglob("*.wav"):
        file.write_bytes(b"")
    assert refused(root, on_bad="skip").startswith("on_bad = skip: no file of class höhe can be read")


def test_what_can_not_be_used_is_refused(root: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "one" / "class").mkdir(parents=True)
    assert "has 0 subfolder(s)" in refused(tmp_path / "empty")
    assert "training needs two or more classes" in refused(tmp_path / "one")
    assert refused(root, rate=0).startswith("rate = 0: input should be greater")
    assert "80 samples, and 200 or more are needed" in refused(root, seconds=0.01, features="mel")
    assert refused(root, group="patient").startswith("group = patient: files can only be grouped by")
    assert "of memory" in refused(root, seconds=86_400, rate=1_000_000)


def test_a_missing_package_names_its_extra(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    assert refused(root).endswith("pip install 'sglr[audio]'")
