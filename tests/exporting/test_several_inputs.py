"""Networks that take several inputs are files that take these by name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from tests.several_inputs import arrays

import sglr


@pytest.mark.parametrize("form", ["torch", pytest.param("onnx", marks=pytest.mark.slow)])
def test_files_take_each_input_by_itself(form: str, tmp_path: Path) -> None:
    model, (inputs, classes) = "tests.several_inputs:PictureAndRow", arrays()
    told = {"clients": 2, "epochs": 1, "batch_size": 6, "out": tmp_path / "run"}
    run = sglr.train("sfl", model=model, dataset=(inputs, classes), **told)
    done = sglr.export(run.path, tmp_path / form, format=form, model=model, data=inputs)
    about = next(file.metadata for file in done.files if file.metadata["segment"] == "client")
    assert [each["name"] for each in about["inputs"]] == ["age", "image", "kinds"]
    assert "inputs" not in next(file.metadata for file in done.files if file.metadata["segment"] == "server")
    given = {name: torch.from_numpy(values[:3]) for name, values in inputs.items()}
    wanted = run.network().module()(given).detach().numpy()
    ordered = [given[each["name"]] for each in about["inputs"]]
    if form == "torch":
        found = torch.export.load(tmp_path / form / "joined.pt2").module()(*ordered).detach().numpy()
    else:
        session = onnxruntime.InferenceSession(tmp_path / form / "joined.onnx")
        found = session.run(["output"], {name: values.numpy() for name, values in given.items()})[0]
        assert json.loads(session.get_modelmeta().custom_metadata_map["sglr"])["inputs"] == about["inputs"]
    assert np.allclose(found, wanted, atol=1e-5)
    assert "`age` float32, [batch]" in (tmp_path / form / "MODEL.md").read_text(encoding="utf-8")
