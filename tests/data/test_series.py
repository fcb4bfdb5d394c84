"""Time series: a file for each in class folders, or a long table with ids; lengths, gaps, channels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from sglr.core.data import Dataset
from sglr.core.errors import UsageError
from sglr.data.load import load_dataset


def load(path: Path, **parameters: object) -> Dataset:
    return load_dataset(f"series:{path}", None, parameters)


def refused(path: Path, **parameters: object) -> str:
    with pytest.raises(UsageError) as raised:
        load(path, **parameters)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def beats(number: int, steps: int = 6) -> pd.DataFrame:
    rng = np.random.default_rng(number)
    return pd.DataFrame(
        {"t": range(steps), "ecg": rng.normal(number % 2 * 5, 1, steps), "rate": rng.normal(80, 9, steps)}
    )


LONG = pd.concat(
    [beats(number).assign(id=number, label=["sinus", "flutter"][number % 2], ward=number % 3) for number in range(20)]
)
COLUMNS = {"id_column": "id", "time_column": "t"}


@pytest.fixture(params=["csv", "parquet"])
def table(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path, shuffled = tmp_path / f"all beats.{request.param}", LONG.sample(frac=1, random_state=0)
    if request.param == "csv":
        shuffled.to_csv(path, index=False)
    else:
        shuffled.to_parquet(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(20):
        place = tmp_path / "beats" / ["sinus", "flutter ü"][number % 2]
        place.mkdir(parents=True, exist_ok=True)
        beats(number).to_csv(place / f"{number}.csv", index=False)
    return tmp_path / "beats"


def test_rows_of_one_id_are_a_series_in_the_order_of_time(table: Path) -> None:
    data = load(table, **COLUMNS, group_columns="ward")
    assert (data.classes, data.input_shape) == (("flutter", "sinus"), (2, 6))
    assert (len(data.train), len(data.test)) == (16, 4)
    channels = data.encoding["channels"]
    assert [channel["name"] for channel in channels] == ["ecg", "rate"]
    stored = {tuple(np.round(beats(number)["ecg"], 3)): number for number in range(20)}
    for inputs, target, ward in zip(data.train.inputs, data.train.targets, data.train.columns["ward"], strict=True):
        ecg = inputs[0].numpy() * channels[0]["std"] + channels[0]["mean"]
        number = stored[tuple(np.round(ecg.astype(float), 3))]
        assert target == (number + 1) % 2
        assert ward == str(number % 3)
    torch.testing.assert_close(data.train.inputs.mean((0, 2)), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(data.train.inputs.std((0, 2), correction=0), torch.ones(2), atol=1e-5, rtol=0)


def steps_in_time(path: Path, times: list[str], **parameters: object) -> list[int]:
    """Return the order in which steps 0, 1, 2 … at rising ``times`` are read that lie shuffled in the file."""
    rows = [f"{one};{time};{step};{'ab'[one % 2]}" for one in range(4) for step, time in enumerate(times)]
    shuffled = np.random.default_rng(0).permutation(rows)
    path.write_text("\n".join(["who;when;value;label", *shuffled]))
    data = load(path, id_column="who", time_column="when", test_fraction=0.25, **parameters)
    channel = data.encoding["channels"][0]
    return (data.train.inputs[0, 0] * channel["std"] + channel["mean"]).round().int().tolist()


@pytest.mark.parametrize(
    "times",
    [
        [f"{step}" for step in range(12)],
        [f"{step - 3}.5" for step in range(12)],
        [f"2024-{step + 1:02}-01" for step in range(12)],
        [f"2024/{step + 1:02}/01" for step in range(12)],
        [f"2024-01-01T{step + 8:02}:30:00+01:00" for step in range(12)],
        [f"2024-01-01 08:30:{step // 2:02}{'.5' * (step % 2)}" for step in range(12)],
        [f"{step + 8:02}:15" for step in range(12)],
        [f"visit {step:02}" for step in range(12)],
    ],
    ids=lambda times: times[1],
)
def test_numbers_and_times_of_one_form_are_sorted_by_time(times: list[str], tmp_path: Path) -> None:
    assert steps_in_time(tmp_path / "long.csv", times) == [*range(12)]


def test_times_with_a_decimal_comma_are_numbers(tmp_path: Path) -> None:
    times = [f"{step},5" for step in range(12)]
    assert steps_in_time(tmp_path / "long.csv", times, decimal=",") == [*range(12)]


@pytest.mark.parametrize(
    "times",
    [
        [f"{step},5" for step in range(12)],
        [f"1/{step + 1}/2024" for step in range(12)],
        [f"{day:02}.0{month}.2024" for month in (1, 2) for day in (1, 20)],
        [f"2024-{step + 1}-1" for step in range(12)],
        ["2024-10-27T02:30:00+02:00", "2024-10-27T02:00:00+01:00"],
        ["2024-01-01T12:00:00Z", "2024-01-01T12:00:00.5Z"],
        [f"visit {step}" for step in range(12)],
        ["T-10", "T-05"],
        ["before", "after"],
        ["7", "08:00"],
    ],
    ids=lambda times: times[1],
)
def test_times_that_as_texts_do_not_sort_by_time_are_refused(times: list[str], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^time_column = when: .* has times such as '.*YYYY-MM-DD"):
        steps_in_time(tmp_path / "long.csv", times)


def test_groups_stay_on_one_side(table: Path) -> None:
    data = load(table, **COLUMNS, group="ward", test_fraction=0.3)
    assert not {*data.train.columns["ward"]} & {*data.test.columns["ward"]}


def test_a_file_for_each_series(folder: Path) -> None:
    data = load(folder, time_column="t")
    assert (data.classes, data.input_shape) == (("flutter ü", "sinus"), (2, 6))
    assert load(folder, value_columns="rate").input_shape == (1, 6)
    for file in folder.rglob("*.csv"):
        np.save(file.with_suffix(".npy"), pd.read_csv(file)[["ecg", "rate"]].to_numpy())
        file.unlink()
    arrays = load(folder)
    assert torch.equal(arrays.train.inputs, data.train.inputs)
    assert [channel["name"] for channel in arrays.encoding["channels"]] == ["channel_1", "channel_2"]


def test_series_of_several_lengths_are_cut_or_padded_with_the_mean(folder: Path) -> None:
    beats(0, 9).to_csv(folder / "sinus" / "0.csv", index=False)
    beats(2, 3).to_csv(folder / "sinus" / "2.csv", index=False)
    told = refused(folder, time_column="t")
    assert "length = none: series have from 3 (sinus/2.csv) to 9 steps (sinus/0.csv)" in told
    data = load(folder, time_column="t", length=6)
    assert data.input_shape == (2, 6)
    inputs = torch.cat([data.train.inputs, data.test.inputs])
    assert sum(not row[:, 3:].any() for row in inputs) == 1
    assert any("1 of 20 series were longer than 6 steps" in note for note in data.notes)
    assert any("1 of 20 series were shorter than 6 steps" in note for note in data.notes)


def test_missing_values_are_named_dropped_or_imputed(folder: Path) -> None:
    frame = beats(0)
    frame.loc[2, "rate"] = np.nan
    frame.to_csv(folder / "sinus" / "0.csv", index=False)
    told = refused(folder, time_column="t")
    assert "series = sinus/0.csv: the channel rate has no value at step 3; fill it in" in told
    dropped = load(folder, time_column="t", missing="drop")
    assert len(dropped.train) + len(dropped.test) == 19
    assert "1 of 20 series are left out, because a value is missing: sinus/0.csv" in dropped.notes
    imputed = load(folder, time_column="t", missing="mean")
    inputs = torch.cat([imputed.train.inputs, imputed.test.inputs])
    assert int((inputs[:, 1] == 0).sum()) == 1
    assert "missing = indicator: series have no inputs that mark gaps" in refused(folder, missing="indicator")


def test_another_site_reads_by_the_schema_of_the_run(folder: Path, table: Path) -> None:
    own = load(folder, time_column="t")
    again = load(folder, time_column="t", schema=dict(own.encoding))
    assert torch.equal(again.train.inputs, own.train.inputs)
    pd.read_csv(folder / "sinus" / "0.csv")[["rate", "t", "ecg"]].to_csv(folder / "sinus" / "0.csv", index=False)
    assert torch.equal(load(folder, time_column="t", schema=dict(own.encoding)).train.inputs, own.train.inputs)
    told = refused(table, **COLUMNS, schema=dict(own.encoding))
    assert "flutter" in told and "unknown classes" in told
    assert "length = 5: the schema decides this" in refused(folder, schema=dict(own.encoding), length=5)


def test_what_does_not_fit_is_named(folder: Path, tmp_path: Path) -> None:
    file = folder / "sinus" / "0.csv"
    file.write_text("t,ecg\n0,1\n")
    assert f"file = {file}: has the channels ecg, others ecg, rate" in refused(folder, time_column="t")
    file.write_text("t,ecg,rate\n0,one,2\n")
    assert "has texts in this column, and channels are numbers" in refused(folder, time_column="t")
    assert "time_column = when: no such time_column" in refused(folder, time_column="when")
    file.write_bytes(b"")
    assert refused(folder, time_column="t")
    np.save(folder / "sinus" / "1.npy", np.array([{}], dtype=object), allow_pickle=True)
    file.unlink()
    assert "1.npy: cannot be read (" in refused(folder, time_column="t")
    (tmp_path / "empty").mkdir()
    assert "has 0 subfolder(s)" in refused(tmp_path / "empty")


def test_a_table_without_ids_or_with_two_labels_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    LONG.to_csv(path, index=False)
    assert "id_column = (none): which column" in refused(path)
    assert "id_column = person: no such id_column" in refused(path, id_column="person")
    changed = LONG.assign(label=["sinus", *LONG["label"][1:-1], "other"])
    changed.to_csv(path, index=False)
    assert "the series 19 has flutter and other in this column" in refused(path, **COLUMNS)
    LONG.assign(label="sinus").to_csv(path, index=False)
    assert "training needs two or more" in refused(path, **COLUMNS)
