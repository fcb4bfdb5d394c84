"""What a site brings: its own files by the run's classes, or exactly its share of a named data set."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from sglr.assembly.client_data import load
from sglr.core.data import Dataset, Samples
from sglr.core.errors import UsageError
from sglr.core.registry import PARTITIONERS
from sglr.core.task import Targets
from sglr.data.federate import federate
from sglr.data.load import load_dataset
from sglr.data.wanted_targets import with_targets
from sglr.runs.config import Experiment
from sglr.sites.own_data import OwnData, Source, WantedData, load_own

DIGITS = tuple(map(str, range(10)))


def wanted(shape: tuple[int, ...] = (1, 8, 8), classes: tuple[str, ...] = ("cat", "dog"), **told: Any) -> WantedData:
    settings = {"partition": "iid", "seed": 0, "batch_size": 2, "clients": 4, "method": "sglr", **told}
    return WantedData(settings["clients"], shape, Targets.of_classes(classes), settings)


def own_of(source: Source, run: WantedData, client: int = 0) -> OwnData:
    return load_own(source, run, [client])[client]


def refused(source: Source, run: WantedData, client: int = 0) -> str:
    with pytest.raises(UsageError) as raised:
        load_own(source, run, [client])
    return str(raised.value)


def pictures(root: Path, counts: dict[str, int], size: int = 8) -> Path:
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (size, size), (number, 0, 0)).save(root / name / f"{number}.png")
    return root


def idx(folder: Path, labels: list[int], side: int = 8) -> Path:
    folder.mkdir()
    images = np.zeros((len(labels), side, side), dtype=np.uint8)
    head = bytes([0, 0, 8, 3]) + struct.pack(">3I", *images.shape)
    (folder / "train-images-idx3-ubyte").write_bytes(head + images.tobytes())
    (folder / "train-labels-idx1-ubyte").write_bytes(
        bytes([0, 0, 8, 1]) + struct.pack(">I", len(labels)) + bytes(labels)
    )
    return folder


def total(own: OwnData) -> int:
    return len(own.train) + sum(map(len, own.held.values()))


@pytest.mark.parametrize("partition", [{"partition": "iid"}, {"partition": "dirichlet", "concentration": 0.5}])
@pytest.mark.parametrize("further", [{}, {"samples_per_client": 20, "validation": 50, "test_samples": 30}])
def test_shares_of_a_named_data_set_are_those_of_a_simulation(partition, further):
    experiment = Experiment.from_flat({"clients": 4, "seed": 3, **partition, **further})
    partitioner = PARTITIONERS.load(experiment.partition)(**experiment.partition_parameters)
    data = federate(
        load(experiment),
        partitioner,
        4,
        3,
        experiment.validation,
        experiment.samples_per_client,
        experiment.test_samples,
    )
    told = {**experiment.flat(), "batch_size": 1}
    run = WantedData(4, (1, 8, 8), Targets.of_classes(DIGITS), told)
    several = load_own(Source(dataset="digits"), run, [0, 3])
    for client in (0, 3):
        own = own_of(Source(dataset="digits", share=(client, 4)), run, client)
        assert torch.equal(own.train.inputs, several[client].train.inputs)
        assert torch.equal(own.train.inputs, data.train.inputs[data.indices[client]])
        assert torch.equal(own.train.targets, data.train.targets[data.indices[client]])
        assert torch.equal(own.held["test"].inputs, data.test.inputs)
        assert torch.equal(own.held["validation"].inputs, data.validation.inputs)


def test_the_one_client_of_a_pooled_method_has_everything():
    own = own_of(Source(dataset="digits"), wanted(classes=DIGITS, method="cl"))
    assert len(own.train) == 1437 - 143


def test_another_clients_share_is_refused():
    told = refused(Source(dataset="digits", share=(1, 4)), wanted(classes=DIGITS), client=2)
    assert told == "partition = 1/4: this is client 2 of a run of 4 clients; give --partition 2/4"


def test_pictures_take_the_runs_size_and_channels_and_their_classes_numbers(tmp_path):
    root = pictures(tmp_path / "mine", {"dog": 20}, size=13)
    own = own_of(Source(path=root), wanted(classes=("cat", "dog", "owl")))
    assert own.train.inputs.shape[1:] == (1, 8, 8)
    assert set(own.train.targets.tolist()) == {1}
    assert total(own) == 20
    assert set(own.held) == {"validation", "test"}


def test_the_folder_test_is_the_test_part(tmp_path):
    pictures(tmp_path / "mine" / "train", {"cat": 10, "dog": 10})
    pictures(tmp_path / "mine" / "test", {"dog": 3})
    own = own_of(Source(path=tmp_path / "mine"), wanted())
    assert own.held["test"].targets.tolist() == [1, 1, 1]
    assert (len(own.train), len(own.held["validation"])) == (18, 2)


@pytest.mark.parametrize(
    ("setting", "held", "left"), [(None, 8, 72), (0, 0, 80), (0.25, 20, 60), (40, 10, 70), (10_000, 79, 1)]
)
def test_validation_samples_are_held_apart_here(tmp_path, setting, held, left):
    root = idx(tmp_path / "mine", [0, 1] * 50)
    own = own_of(Source(path=root), wanted(validation=setting, batch_size=1))
    assert (len(own.held.get("validation", ())), len(own.train)) == (held, left)
    assert len(own.held["test"]) == 20


def test_no_more_samples_than_the_run_wants(tmp_path):
    root = idx(tmp_path / "mine", [0, 1] * 50)
    own = own_of(Source(path=root), wanted(samples_per_client=5, test_samples=7))
    assert (len(own.train), len(own.held["test"])) == (5, 7)
    assert len(own_of(Source(path=root), wanted(samples_per_client=500)).train) == 72


SCHEMA = {
    "kind": "table",
    "label": {"name": "ill", "classes": ["cat", "dog"]},
    "columns": [
        {"name": "a", "type": "number", "mean": 9.5, "std": 5.0},
        {"name": "b", "type": "category", "categories": ["f", "m"]},
    ],
}


def by_schema() -> WantedData:
    return replace(wanted(shape=(3,)), encoding=SCHEMA)


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_a_table_is_read_by_the_runs_schema_whatever_the_order_of_its_columns(tmp_path, ending):
    frame = pd.DataFrame({"a": np.arange(20.0), "b": ["m", "f"] * 10, "ill": ["dog", "cat"] * 10})
    owned = []
    for order in (["a", "b", "ill"], ["ill", "b", "a"]):
        path = tmp_path / f"{order[0]}{ending}"
        frame[order].to_csv(path, index=False) if ending == ".csv" else frame[order].to_parquet(path)
        owned.append(own_of(Source(path=path), by_schema()))
    assert torch.equal(owned[0].train.inputs, owned[1].train.inputs)
    assert torch.equal(owned[0].train.targets, owned[1].train.targets)
    assert total(owned[0]) == 20
    # A site's own figures would depend on its rows; those of the schema do not.
    assert (
        (owned[0].train.inputs[:, 0] * 5.0 + 9.5)
        .round()
        .int()
        .float()
        .allclose(owned[0].train.inputs[:, 0] * 5.0 + 9.5, atol=1e-5)
    )


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"a": "age"}, "column = a: "),
        ({"ill": "Ill"}, "column = ill: "),
    ],
)
def test_a_column_that_the_schema_does_not_have_is_named(tmp_path, change, told):
    frame = pd.DataFrame({"a": np.arange(20.0), "b": ["m", "f"] * 10, "ill": ["dog", "cat"] * 10})
    frame.rename(columns=change).to_csv(tmp_path / "t.csv", index=False)
    message = refused(Source(path=tmp_path / "t.csv"), by_schema())
    assert message.startswith(told)
    assert next(iter(change.values())) in message


def test_a_category_that_the_schema_does_not_know_is_named(tmp_path):
    frame = pd.DataFrame({"a": np.arange(20.0), "b": ["male", "f"] * 10, "ill": ["dog", "cat"] * 10})
    frame.to_csv(tmp_path / "t.csv", index=False)
    assert "'male'" in refused(Source(path=tmp_path / "t.csv"), by_schema())


def test_a_table_in_a_run_without_a_schema_is_refused(tmp_path):
    pd.DataFrame({"a": np.arange(20.0), "label": ["dog", "cat"] * 10}).to_csv(tmp_path / "t.csv", index=False)
    assert "sglr serve --schema" in refused(Source(path=tmp_path / "t.csv"), wanted(shape=(1,)))


def test_classes_are_matched_by_name_and_strangers_are_named(tmp_path):
    root = pictures(tmp_path / "mine", {"cat": 4, "yak": 4})
    told = refused(Source(path=root), wanted())
    assert told.startswith("classes = yak: ")
    assert "known: cat, dog" in told
    shuffled = own_of(Source(dataset="digits"), wanted(classes=DIGITS[::-1], validation=0))
    plain = own_of(Source(dataset="digits"), wanted(classes=DIGITS, validation=0))
    assert torch.equal(shuffled.train.targets, 9 - plain.train.targets)


def test_targets_are_those_of_the_run_by_kind_shape_and_names():
    inputs = torch.zeros(4, 2)
    own = Targets(("stay", "cost"), (2,), "float32")
    dataset = Dataset("own", *[Samples(inputs, torch.ones(4, 2))] * 2, targets=own)
    assert with_targets(dataset, own, "own") is dataset
    assert with_targets(dataset, replace(own, names=()), "own").targets.names == ()
    for wanted_targets, told in (
        (replace(own, names=("cost", "stay")), "called stay, cost; those of the run cost, stay"),
        (replace(own, names=(), shape=(3,)), "measurements, [2] per sample; those of the run are measurements, [3]"),
        (Targets.of_classes(("a", "b")), "those of the run are class numbers of 2 classes"),
    ):
        with pytest.raises(UsageError) as raised:
            with_targets(dataset, wanted_targets, "own")
        assert told in str(raised.value)


def test_another_shape_is_told_with_what_to_do(tmp_path):
    root = idx(tmp_path / "mine", [0, 1] * 20, side=12)
    told = refused(Source(path=root), wanted())
    assert "have shape 1,12,12, those of the run 1,8,8; give --image-size 8" in told
    assert own_of(Source(path=root, parameters={"image_size": 8}), wanted()).train.inputs.shape[1:] == (1, 8, 8)
    told = refused(Source(dataset="digits"), wanted(shape=(3, 8, 8), classes=DIGITS))
    assert told.endswith("give --image-channels 3")


def test_a_site_with_fewer_samples_than_the_batch_brings_what_it_has(tmp_path):
    root = idx(tmp_path / "mine", [0, 1, 0, 1, 0])
    assert len(own_of(Source(path=root), wanted(batch_size=8)).train) == 4


def test_sources_that_say_nothing_or_too_much(tmp_path):
    assert "give --data PATH or --dataset NAME" in refused(Source(), wanted())
    assert "both files of your own" in refused(Source(path=tmp_path, dataset="digits"), wanted())
    assert "no such file" in refused(Source(path=tmp_path / "nowhere"), wanted())
    (tmp_path / "notes.pdf").write_text("")
    assert "not a kind of data" in refused(Source(path=tmp_path / "notes.pdf"), wanted())


@pytest.mark.parametrize(
    "told", [{"partition": "os:system"}, {"seed": "x"}, {"batch_size": 0}, {"method": "os:system"}]
)
def test_what_a_server_tells_is_checked_and_names_no_code(told):
    with pytest.raises(UsageError):
        own_of(Source(dataset="digits"), wanted(classes=DIGITS, **told))


def test_files_of_ones_own_are_one_clients(tmp_path):
    root = idx(tmp_path / "mine", [0, 1] * 20)
    with pytest.raises(UsageError, match="join once for each token"):
        load_own(Source(path=root), wanted(), [0, 1])


def test_a_named_data_set_has_the_size_that_the_run_gives_it():
    own = own_of(Source(dataset="digits"), wanted(shape=(3, 12, 12), classes=DIGITS, image_size=12, image_channels=3))
    assert own.train.inputs.shape[1:] == (3, 12, 12)


def deep(root: Path, low: int, high: int) -> Path:
    for name, value in (("cat", low), ("dog", high)):
        (root / name).mkdir(parents=True)
        for number in range(10):
            values = np.full((8, 8), low, dtype=np.int32)
            values[4:] = value
            Image.fromarray(values).save(root / name / f"{number}.tif")
    return root


def test_pictures_of_more_than_eight_bits_need_a_range_that_all_sites_share(tmp_path):
    small, large = deep(tmp_path / "small", 0, 1000), deep(tmp_path / "large", 0, 4000)
    told = refused(Source(path=small), wanted())
    assert "its pictures have more than 8 bits (values 0 to 1000), and the run has no range" in told
    assert "ask the operator for --pixel-range LOW,HIGH" in told
    experiment = Experiment.from_flat(
        {"dataset": "sites", "input_shape": (1, 8, 8), "classes": ("cat", "dog"), "pixel_range": ("0", "4000")}
    )
    run = wanted(**json.loads(json.dumps(experiment.flat())) | {"clients": 4, "batch_size": 2})
    brightest = [float(own_of(Source(path=root), run).train.inputs.max()) for root in (small, large)]
    assert brightest == [-0.5, 1.0]
    # A site can't choose a range of its own.
    own = own_of(Source(path=small, parameters={"pixel_range": (0, 1000)}), run)
    assert float(own.train.inputs.max()) == -0.5


def test_pictures_of_eight_bits_are_no_deep_ones(tmp_path):
    root = pictures(tmp_path / "mine", {"cat": 10, "dog": 10})
    run = wanted(pixel_range=[0, 4095])
    assert "have 8 bits, so their values are 0 to 255" in refused(Source(path=root), run)


def test_the_folder_val_is_the_validation_part_by_the_runs_classes(tmp_path):
    for part, counts in (("train", {"cat": 6, "dog": 6}), ("val", {"dog": 3}), ("test", {"dog": 2})):
        pictures(tmp_path / "mine" / part, counts)
    own = own_of(Source(path=tmp_path / "mine"), wanted(classes=("owl", "dog", "cat")))
    assert own.held["validation"].targets.tolist() == [1, 1, 1]
    assert "there is no training sample of class owl" in own.notes


# Data that a schema describes: the schema says of which kind a site's files are


def texts(path: Path, words: str, rows: int = 20) -> Path:
    lines = ({"note": f"{words} {row}", "label": ["cat", "dog"][row % 2]} for row in range(rows))
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return path


def by_texts(path: Path) -> WantedData:
    """Return what a run wants whose schema was made of a file of texts."""
    own = load_dataset(f"text:{path}", None, {"text_column": "note", "length": 8})
    return replace(wanted(shape=(8,)), encoding=dict(own.encoding), input_type="int64")


def test_a_sites_texts_are_read_by_the_runs_vocabulary(tmp_path):
    run = by_texts(texts(tmp_path / "sample.jsonl", "abc"))
    source = Source(path=texts(tmp_path / "mine.jsonl", "cab ß"), parameters={"text_column": "note"})
    own = own_of(source, run)
    assert own.train.inputs.shape[1:] == (8,)
    token = {chr(number): place + 2 for place, number in enumerate(run.encoding["vocabulary"])}
    assert own.train.inputs[0, :5].tolist() == [*(token[sign] for sign in "cab "), 1]  # ß is unknown to all
    assert total(own) == 20


def test_a_share_of_named_texts_is_that_of_a_simulation(tmp_path):
    path = texts(tmp_path / "all.jsonl", "abc", 80)
    run = by_texts(path)
    parts = [
        own_of(Source(dataset=f"text:{path}", share=(client, 4), parameters={"text_column": "note"}), run, client)
        for client in range(4)
    ]
    data = federate(
        load_dataset(f"text:{path}", None, {"text_column": "note", "length": 8}), PARTITIONERS.load("iid")(), 4, 0
    )
    for client, own in enumerate(parts):
        assert torch.equal(own.train.inputs, data.train.inputs[data.indices[client]])


def test_a_site_is_not_told_another_size_than_the_run_states(tmp_path):
    path = texts(tmp_path / "mine.jsonl", "abc")
    run = by_texts(path)
    huge = replace(run, encoding={**run.encoding, "length": 1 << 20})
    told = refused(Source(path=path, parameters={"text_column": "note"}), huge)
    assert told.startswith("schema = text: the run's schema makes inputs of shape 1048576, and it states 8;")
    broken = replace(run, encoding={**run.encoding, "length": "long"})
    assert "length = long: input should be a valid integer" in refused(Source(path=path), broken)
    plain = refused(Source(dataset=f"text:{path}"), wanted(shape=(8,)))
    assert "this run has no schema of kind text, by which all sites read their data alike" in plain
