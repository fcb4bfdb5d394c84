"""Samples with several inputs: every method trains, a split model as the whole one, and new data are read by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.several_inputs import KINDS, Looped, Raw, arrays
from tests.some_methods import FITTING, WITH_TAIL
from torch.utils.data import Dataset, TensorDataset

import sglr
from sglr.core.errors import Interrupted, UsageError
from sglr.core.events import StepDone
from sglr.core.registry import METHODS
from sglr.data.load import load_dataset
from sglr.data.objects.read import read_objects
from sglr.storage.checkpoint import read_checkpoint

QUICK = ("sglr", "fl")
DECODES = [name for name in METHODS.names() if METHODS.load(name).decodes]
MODEL = "tests.several_inputs:PictureAndRow"


def some(names: list[str]) -> list[Any]:
    """Return methods to test; most in the slow tests."""
    return [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in names]


def trained(method: str, out: Path, **settings: Any) -> sglr.Run:
    told = {"dataset": arrays(), "model": MODEL, "clients": 3, "batch_size": 6, "epochs": 2, "lr": 0.01}
    fitting = {name: value for name, value in FITTING.get(method, {}).items() if name in ("h", "align_every")}
    return sglr.train(method, out=out, **{**told, **fitting, **settings})


@pytest.mark.parametrize("method", some([name for name in METHODS.names() if name not in DECODES]))
def test_every_method_trains(method: str, tmp_path: Path) -> None:
    run = trained(method, tmp_path / "run", optimizer="adam")
    assert run.history[-1]["loss"] < 1.2


@pytest.mark.parametrize("method", DECODES)
def test_inputs_that_are_numbers_of_tokens_are_not_decoded(method: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="clients decode their inputs, and these are numbers of tokens"):
        trained(method, tmp_path / "run")


@pytest.mark.parametrize("method", some([name for name in WITH_TAIL if name != "sgl"]))
def test_labels_stay(method: str, tmp_path: Path) -> None:
    run = trained(method, tmp_path / "run", tail="join")
    assert run.summary is not None
    assert "labels" not in run.summary["communication"]["by_kind"]["up"]


def test_clients_with_several_inputs_may_be_cut_at_different_places(tmp_path: Path) -> None:
    """Behind the picture's layer the other inputs' layers are the server's; behind the joined layer there are none."""
    cuts = {"0": "look", "1-2": "join"}
    run, stacked = (trained("sfl", tmp_path / form, cuts=cuts, stacking=form, epochs=4) for form in ("looped", "auto"))
    assert run.history[-1]["loss"] < run.history[0]["loss"]
    assert run.history[-1]["loss"] == pytest.approx(stacked.history[-1]["loss"], rel=1e-4)
    inputs = {name: torch.as_tensor(rows) for name, rows in arrays()[0].items()}
    ours, theirs = (sglr.load_model(run.path, client)(inputs) for client in (0, 2))
    assert torch.equal(ours, theirs)  # weights are averaged, so that there is one network


@pytest.mark.parametrize("cut", ["look", "join"])
def test_law_1_one_client_trains_as_the_whole_model(cut: str, tmp_path: Path) -> None:
    given = {"clients": 1, "optimizer": "sgd:momentum=0.9"}
    split, whole = (trained(name, tmp_path / name, cut=at, **given) for name, at in (("psl", cut), ("cl", None)))
    assert split.history[-1]["loss"] == pytest.approx(whole.history[-1]["loss"], rel=1e-5)


def test_law_2_stacked_equals_looped(tmp_path: Path) -> None:
    runs = [trained("sglr", tmp_path / form, stacking=form, optimizer="sgd") for form in ("stacked", "looped")]
    stacked, looped = (read_checkpoint(run.checkpoints[-1])[0] for run in runs)
    for name, tensor in stacked.items():
        torch.testing.assert_close(tensor, looped[name], rtol=1e-3, atol=1e-5)


def test_every_way_to_give_inputs_is_the_same(tmp_path: Path) -> None:
    inputs, classes = arrays()

    class Items(Dataset[Any]):
        def __len__(self) -> int:
            return len(classes)

        def __getitem__(self, index: int) -> Any:
            return {name: torch.as_tensor(values[index]) for name, values in inputs.items()}, int(classes[index])

    path = tmp_path / "samples"
    np.savez(path.with_suffix(".npz"), y=classes, **{f"x.{name}": values for name, values in inputs.items()})
    path.mkdir()
    for name, values in {"y": classes, **{f"inputs_{name}": values for name, values in inputs.items()}}.items():
        np.save(path / f"{name}.npy", values)
    own = tmp_path / "own.npz"
    np.savez(own, y=classes, **inputs)
    wanted = read_objects((inputs, classes))
    assert wanted.input_shape == (1 + 64 + 2,)
    found = [
        read_objects(Items()),
        load_dataset(f"arrays:{path}.npz", None),
        load_dataset(f"arrays:{path}", None),
        load_dataset(f"arrays:{own}", None, {"inputs": "image+kinds+age"}),
    ]
    for dataset in found:
        assert dataset.encoding["inputs"] == wanted.encoding["inputs"]
        assert torch.equal(dataset.train.tensor, wanted.train.tensor)


def test_inputs_without_names() -> None:
    (first, second), classes = torch.randn(2, 20, 3), torch.arange(20) % 2
    for given in (((first, second), classes), TensorDataset(first, second, classes)):
        assert [each["name"] for each in read_objects(given).encoding["inputs"]] == ["0", "1"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> sglr.Run:
    """Return a run on arrays in a file."""
    folder = tmp_path_factory.mktemp("several")
    inputs, classes = arrays()
    np.savez(folder / "data.npz", y=classes, **{f"x_{name}": values for name, values in inputs.items()})
    return trained("sfl", folder / "run", dataset=f"arrays:{folder / 'data.npz'}", epochs=3)


def test_a_run_reads_new_samples_by_name(run: sglr.Run, tmp_path: Path) -> None:
    inputs, classes = arrays()
    found = run.predict(inputs)
    assert run.evaluate((inputs, classes))["accuracy"] == np.mean(np.asarray(found["class"]) == classes.astype(str))
    np.savez(tmp_path / "new.npz", **inputs)
    assert np.array_equal(run.predict(tmp_path / "new.npz")["class"], found["class"])
    module = run.network().module()
    scores = module({name: torch.from_numpy(values) for name, values in inputs.items()})
    loaded = sglr.load_model(run.path)({name: torch.from_numpy(values) for name, values in inputs.items()})
    torch.testing.assert_close(scores, loaded)
    assert np.array_equal(scores.argmax(1).numpy().astype(str), np.asarray(found["class"]))


INPUTS = arrays(6)[0]
WRONG = {
    "missing": (
        {"image": INPUTS["image"], "age": INPUTS["age"]},
        "inputs = image, age: .*trained on age, image, kinds",
    ),
    "unknown": ({**INPUTS, "sex": INPUTS["age"]}, "inputs = age, image, kinds, sex|image, kinds, age, sex: "),
    "count": ({**INPUTS, "kinds": INPUTS["kinds"][:5]}, r"inputs\['kinds'\] = 5 samples: input age has 6"),
    "shape": ({**INPUTS, "kinds": INPUTS["kinds"][:, :1]}, r"inputs\['kinds'\] = int64 \[1\]: .* int64 \[2\]"),
    "type": ({**INPUTS, "kinds": INPUTS["kinds"] + 0.5}, r"inputs\['kinds'\] = float32 \[2\]: .* int64 \[2\]"),
    "finite": ({**INPUTS, "age": INPUTS["age"] + np.nan}, "nan: row 0 is not finite"),
    "one array": (INPUTS["image"], "ndarray: each sample has several inputs: age"),
}


@pytest.mark.parametrize("case", WRONG)
def test_other_inputs_are_refused_by_name(run: sglr.Run, case: str) -> None:
    given, message = WRONG[case]
    with pytest.raises(UsageError, match=message):
        run.predict(given)


@pytest.mark.slow
def test_law_5_a_run_that_is_stopped_and_resumed_has_the_same_bits(run: sglr.Run, tmp_path: Path) -> None:
    told = {"dataset": run.experiment.dataset, "epochs": 3, "init": "independent"}
    whole = trained("sglr", tmp_path / "whole", **told)

    seen: list[StepDone] = []

    def observe(event: object) -> None:
        if isinstance(event, StepDone):
            seen.append(event)

    with pytest.raises(Interrupted):
        trained("sglr", tmp_path / "part", observe=observe, stop=lambda: len(seen) >= 4, **told)
    resumed = sglr.resume(tmp_path / "part", model=MODEL)
    assert whole.summary is not None
    assert resumed.summary is not None
    assert resumed.summary["weights_sha256"] == whole.summary["weights_sha256"]


def test_an_input_that_crosses_as_it_is_is_warned_of_by_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trained("psl", tmp_path / "raw", model=Raw, epochs=1)
    told = [record.message for record in caplog.records if "crosses the cut as it is" in record.message]
    assert len(told) == 1
    assert told[0].startswith("input age ")
    caplog.clear()
    trained("psl", tmp_path / "layered", epochs=1)
    assert "crosses the cut as it is" not in caplog.text


def test_two_texts_train_by_code_that_no_tracer_takes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    classes = np.arange(40) % 2
    first, second = rng.integers(0, KINDS - 1, (40, 4)) + classes[:, None], rng.integers(0, KINDS, (40, 3))
    data = ({"first": first, "second": second}, classes)
    run = trained("sglr", tmp_path / "run", dataset=data, model=Looped, stacking="looped")
    assert run.data is not None
    assert run.data.dtype == "int64"


def test_a_built_in_model_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"model = cnn: takes one input, and each sample has age, image, kinds"):
        trained("psl", tmp_path / "run", model="cnn")


def test_augmentation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"augment = horizontal-flip: each sample has several inputs \(age"):
        trained("psl", tmp_path / "run", augment="horizontal-flip")


def test_parts_with_other_inputs_are_refused() -> None:
    inputs, classes = arrays()
    fewer = {name: values for name, values in inputs.items() if name != "age"}
    with pytest.raises(UsageError, match="inputs of test differ from the first, which are age float32"):
        read_objects({"train": (inputs, classes), "test": (fewer, classes)})


def test_a_module_that_is_given_with_lazy_layers_takes_their_shapes(tmp_path: Path) -> None:
    class Lazy(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.look, self.head = torch.nn.LazyLinear(8), torch.nn.LazyLinear(3)

        def forward(self, image: torch.Tensor, age: torch.Tensor, kinds: torch.Tensor) -> torch.Tensor:
            look = torch.tanh(self.look(torch.cat([image.flatten(1), kinds.float(), age[:, None]], 1)))
            return self.head(look)

    assert trained("sfl", tmp_path / "run", model=Lazy(), cut="look", epochs=1).summary is not None
