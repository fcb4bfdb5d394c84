"""Samples with several inputs between sites: as in one process, and refused by name where a site has others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.several_inputs import arrays

from sglr.core.errors import UsageError
from sglr.data.load import load_dataset
from sglr.sites.own_data import Source, WantedData, load_own

from .federation import Federation, local_twin

MODEL = "tests.several_inputs:PictureAndRow"


def written(folder: Path, count: int = 200, **changed: Any) -> Path:
    inputs, classes = arrays(count)
    named = {f"x.{name}": values for name, values in {**inputs, **changed}.items() if values is not None}
    np.savez(folder / "samples.npz", y=classes, **named)
    return folder / "samples.npz"


@pytest.mark.parametrize(
    "case",
    [
        {"method": "sglr", "compression": "int8:feedback=true"},
        pytest.param({"method": "sfl", "partition": "dirichlet", "defence": "nopeek:weight=3"}, marks=pytest.mark.slow),
        pytest.param({"method": "psl", "tail": "join"}, marks=pytest.mark.slow),
    ],
    ids=lambda case: str(case["method"]),
)
def test_law_2_between_sites(case: dict[str, Any], tmp_path: Path) -> None:
    told = {"model": MODEL, "dataset": f"arrays:{written(tmp_path)}", **case}
    federation = Federation(tmp_path, told)
    remote, local = federation.train(), local_twin(told, tmp_path / "local")
    assert federation.problems == []
    assert remote.summary is not None
    assert local.summary is not None
    assert remote.summary["communication"] == local.summary["communication"]
    assert remote.summary["test"]["loss"] == pytest.approx(local.summary["test"]["loss"], abs=1e-4)
    exact = case["method"] != "psl"
    assert not exact or remote.summary["weights_sha256"] == local.summary["weights_sha256"]
    assert any("inputs age 1, image 1 x 8 x 8, kinds 2" in line for line in federation.said)


def wanted() -> WantedData:
    """Return what a run wants whose operator has stated the inputs."""
    stated = load_dataset("sites", None, {"input_layout": "image:1,8,8+kinds:2:int64+age:", "classes": 3})
    settings = {"partition": "iid", "seed": 0, "batch_size": 2, "clients": 4, "method": "sglr"}
    return WantedData(4, stated.input_shape, stated.targets, settings, stated.encoding)


def test_a_site_s_own_file_has_the_inputs_that_the_operator_stated(tmp_path: Path) -> None:
    own = load_own(Source(path=written(tmp_path, 30)), wanted(), [1])[1]
    assert own.train.inputs.shape[1:] == (67,)


WRONG = {
    "missing": ({"age": None}, "its inputs are image float32 .*; those of the run are age float32"),
    "shape": ({"kinds": np.zeros((30, 3), np.int64)}, r"kinds int64 \[3\]; those of the run are .*kinds int64 \[2\]"),
    "more": ({"sex": np.zeros(30, np.float32)}, r"sex float32 \[\]; those of the run"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_site_with_other_inputs_is_refused_with_the_names(case: str, tmp_path: Path) -> None:
    changed, message = WRONG[case]
    with pytest.raises(UsageError, match=message):
        load_own(Source(path=written(tmp_path, 30, **changed)), wanted(), [1])


def test_an_operator_gives_shapes_once() -> None:
    with pytest.raises(UsageError, match="inputs are given with their shapes; leave out one"):
        load_dataset("sites", None, {"input_layout": "a:2+b:3", "input_shape": (5,), "classes": 2})
