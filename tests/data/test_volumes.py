"""NIfTI volumes: orientation, shape, intensities; a folder per class, or nnU-Net's folders with label maps."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from sglr.core.data import Dataset
from sglr.core.errors import UsageError
from sglr.data.load import load_dataset

SHAPE = (8, 6, 4)


def save(path: Path, values: np.ndarray, affine: np.ndarray | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4) if affine is None else affine), path)


def scan(seed: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(seed).normal(40, 20, shape).astype(np.float32)


def load(root: Path, **parameters: object) -> Dataset:
    return load_dataset(f"volumes:{root}", None, parameters)


def refused(root: Path, **parameters: object) -> str:
    with pytest.raises(UsageError) as raised:
        load(root, **parameters)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    for number in range(10):
        save(tmp_path / "scans" / ["healthy", "ill now"][number % 2] / f"p{number}" / "scan ü.nii.gz", scan(number))
    return tmp_path / "scans"


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    """A Decathlon of bright boxes: voxels above 100 are the tumour."""
    root = tmp_path / "Task 1"
    for number in range(10):
        values = scan(number)
        values[number % 4 : number % 4 + 3, 2:4, 1:3] += 200
        save(root / "imagesTr" / f"case_{number:02}_0000.nii.gz", values)
        save(root / "labelsTr" / f"case_{number:02}.nii.gz", (values > 120).astype(np.uint8))
    (root / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "tumour": 1}}))
    return root


def test_a_volume_is_standardised_and_its_folder_its_class(scans: Path) -> None:
    data = load(scans)
    assert (data.classes, data.input_shape) == (("healthy", "ill now"), (1, *SHAPE))
    assert (len(data.train), len(data.test)) == (8, 2)
    torch.testing.assert_close(data.train.inputs.flatten(1).mean(1), torch.zeros(8), atol=1e-5, rtol=0)
    torch.testing.assert_close(data.train.inputs.flatten(1).std(1, correction=0), torch.ones(8), atol=1e-5, rtol=0)
    found = [tuple(data.train.inputs[0].shape), *data.train.columns["folder"]]
    assert "p0" in found or "p2" in found
    windowed = load(scans, window="-160,240")
    assert windowed.train.inputs.mean() == pytest.approx(0, abs=0.01)
    assert windowed.train.inputs.abs().max() <= 1


def test_volumes_are_turned_to_one_orientation(tmp_path: Path) -> None:
    """The same body, stored from right to left and with axes in another order, gives the same input."""
    body = scan(0)
    flipped = np.diag([-1.0, 1, 1, 1])
    flipped[0, 3] = SHAPE[0] - 1
    swapped = np.eye(4)[[2, 1, 0, 3]]
    stored = {
        "plain": (body, np.eye(4)),
        "flipped": (body[::-1], flipped),
        "swapped": (body.transpose(2, 1, 0), swapped),
    }
    for name, (values, affine) in stored.items():
        for number in range(2):
            save(tmp_path / name / f"{number}.nii", np.ascontiguousarray(values), affine)
    data = load(tmp_path, test_fraction=0.4)
    inputs = torch.cat([data.train.inputs, data.test.inputs])
    assert inputs.shape == (6, 1, *SHAPE)
    for other in inputs[1:]:
        assert torch.equal(inputs[0], other)


def test_label_maps_follow_their_volumes(cases: Path) -> None:
    data = load(cases)
    assert (data.targets.names, data.targets.shape) == (("background", "tumour"), SHAPE)
    assert data.train.targets.dtype == torch.uint8
    for size in ("16,12,8", "6,6,6", "12,3,4"):
        scaled = load(cases, volume_size=size)
        assert scaled.targets.shape == tuple(map(int, size.split(",")))
        bright = scaled.train.inputs[:, 0] > 2.5
        agree = (bright == (scaled.train.targets > 0)).float().mean()
        assert agree > 0.9


def test_a_spacing_keeps_millimetres_and_crops_or_pads_around_the_middle(cases: Path) -> None:
    data = load(cases, spacing="0.5,1,1", volume_size="20,4,4")
    plain = load(cases)
    assert data.input_shape == (1, 20, 4, 4)
    edge = data.train.inputs[:, 0, :2]  # 16 voxels in 20: two of padding on each side
    assert torch.equal(edge, data.train.inputs.flatten(1).amin(1)[:, None, None, None].expand_as(edge))
    assert not data.train.targets[:, :2].any()
    assert torch.equal(data.train.targets[:, 2:18:2], plain.train.targets[:, :, 1:5])


def test_another_site_reads_by_the_schema_of_the_run(cases: Path, scans: Path) -> None:
    own = load(cases, volume_size="4,4,4", window="0,255")
    again = load(cases, schema=dict(own.encoding))
    assert torch.equal(again.train.inputs, own.train.inputs)
    assert torch.equal(again.train.targets, own.train.targets)
    assert "window = 0.0,1.0: the schema decides this" in refused(cases, schema=dict(own.encoding), window="0,1")
    assert "has a folder for each class, and the schema wants label maps" in refused(scans, schema=dict(own.encoding))


def test_channels_are_files_or_a_fourth_dimension(cases: Path, scans: Path) -> None:
    for file in sorted((cases / "imagesTr").glob("*_0000.nii.gz")):
        save(file.with_name(file.name.replace("_0000", "_0001")), scan(99))
    assert load(cases).input_shape == (2, *SHAPE)
    save(scans / "healthy" / "p0" / "scan ü.nii.gz", scan(0, (*SHAPE, 3)))
    assert "volumes differ in channels or size" in refused(scans)
    save(scans / "healthy" / "p0" / "scan ü.nii.gz", scan(0, (*SHAPE, 1, 2)))
    assert "it has 5 dimensions, 8 x 6 x 4 x 1 x 2, not 3 or 4" in refused(scans)


def mirrored(shift: float = 0.0) -> np.ndarray:
    """The affine of voxels that are stored from right to left, the last of them at ``shift`` millimetres."""
    affine = np.diag([-1.0, 1, 1, 1])
    affine[0, 3] = SHAPE[0] - 1 + shift
    return affine


def test_a_label_map_that_turning_moves_away_from_its_volume_is_refused(cases: Path) -> None:
    labels, image = cases / "labelsTr" / "case_03.nii.gz", cases / "imagesTr" / "case_03_0000.nii.gz"
    values = nibabel.load(image).get_fdata(dtype=np.float32)
    before = load(cases)
    # The same body, stored from right to left: both say where their voxels lie, and are paired as before.
    save(image, np.ascontiguousarray(values[::-1]), mirrored(shift=0.01))
    assert torch.equal(load(cases).train.inputs, before.train.inputs)
    # The same voxels, from right to left by the volume's affine alone: only they would be turned, and not the map.
    save(image, values, np.diag([-1.0, 1, 1, 1]))
    said = refused(cases)
    assert f"file = {labels}: is stored in another orientation than its volume {image}" in said
    assert "give both the same affine" in said


def test_a_label_map_that_is_stored_like_its_volume_is_paired_with_it_whatever_its_affine(cases: Path) -> None:
    before = load(cases)
    image = cases / "imagesTr" / "case_03_0000.nii.gz"
    save(image, nibabel.load(image).get_fdata(dtype=np.float32), np.diag([2.0, 2, 2, 1]))
    after = load(cases)
    assert torch.equal(after.train.inputs, before.train.inputs)
    assert torch.equal(after.train.targets, before.train.targets)
    assert not [note for note in before.notes if "affines" in note]
    (note,) = (note for note in after.notes if "affines" in note)
    assert note.startswith("label maps lie elsewhere than their volumes")
    assert note.endswith("voxel by voxel, as they are stored: case_03")


def test_channels_of_a_case_lie_together_and_have_one_spacing(cases: Path) -> None:
    for file in sorted((cases / "imagesTr").glob("*_0000.nii.gz")):
        save(file.with_name(file.name.replace("_0000", "_0001")), scan(99), np.diag([2.0, 1, 1, 1]))
    assert load(cases).input_shape == (2, *SHAPE)
    said = refused(cases, spacing="1,1,1", volume_size="4,4,4")
    assert "its channels have different spacings" in said
    second = cases / "imagesTr" / "case_00_0001.nii.gz"
    save(second, scan(99), np.diag([-1.0, 1, 1, 1]))
    first = cases / "imagesTr" / "case_00_0000.nii.gz"
    assert f"file = {second}: is stored in another orientation than its first channel {first}" in refused(cases)


def test_what_does_not_fit_is_named(cases: Path) -> None:
    labels, image = cases / "labelsTr" / "case_03.nii.gz", cases / "imagesTr" / "case_03_0000.nii.gz"
    save(labels, np.zeros((8, 6, 5), np.uint8))
    assert f"file = {labels}: has shape 8 x 6 x 5, its volume {image} 8 x 6 x 4" in refused(cases)
    save(labels, np.full(SHAPE, 0.5, np.float32))
    assert "it has values from 0.5 to 0.5 that are no class numbers" in refused(cases)
    save(labels, np.full(SHAPE, 3, np.uint8))
    assert "label map case_03 has the number 3" in refused(cases, classes="a,b")
    labels.unlink()
    assert f"file = {image}: has no label map" in refused(cases)
    image.unlink()
    image.with_name("case_03_0001.nii.gz").unlink(missing_ok=True)
    assert len(load(cases).train) == 7
    (cases / "dataset.json").write_text('{"labels": {"background": 0, "whole": [1, 2]}}')
    assert "dataset.json: its labels can't be read" in refused(cases)


def test_what_can_not_be_read_is_refused_or_skipped(scans: Path, tmp_path: Path) -> None:
    damaged = scans / "healthy" / "p0" / "scan ü.nii.gz"
    damaged.write_bytes(b"\x1f\x8b no more")
    assert refused(scans).startswith(f"file = {damaged}: cannot be read (")
    assert "1 of 10 files can't be read and were skipped" in load(scans, on_bad="skip").notes[0]
    save(damaged, np.full(SHAPE, 7.0, np.float32))
    assert "all its voxels have one value" in refused(scans)
    save(damaged, scan(0, (8, 6, 5)))
    assert "give --volume-size, such as 64,64,32" in refused(scans)
    assert load(scans, volume_size="8,6,4").input_shape == (1, *SHAPE)
    (tmp_path / "empty").mkdir()
    assert "has 0 subfolder(s)" in refused(tmp_path / "empty")
    assert "volume_size" in refused(scans, volume_size="8,8")
    assert "window is not two numbers" in refused(scans, window="3,1")
    assert "of memory" in refused(scans, volume_size="16000,16000,16000")


def test_a_missing_package_names_its_extra(scans: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nibabel", None)
    assert refused(scans).endswith("pip install 'sglr[medical]'")
