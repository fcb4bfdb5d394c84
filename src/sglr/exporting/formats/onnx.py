"""ONNX: for ONNX Runtime, in Python, C++, Java, JavaScript and on phones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.export import ExportedProgram

from sglr.exporting.exporter import INPUTS, KEY, Exporter, Runs, quietly

__all__ = ["Onnx"]


class Onnx(Exporter):
    """Files ``.onnx``; the metadata are in ``metadata_props``."""

    suffix: ClassVar[str] = ".onnx"
    needs: ClassVar[tuple[str, ...]] = ("onnx", "onnxscript", "onnxruntime")
    extra: ClassVar[str] = "export"

    def write(self, program: ExportedProgram, path: Path, metadata: str) -> None:
        """Write a traced segment; weights of more than 2 GB lie in a second file beside it."""
        with quietly():
            several = [each["name"] for each in json.loads(metadata).get(INPUTS, ())]
            made = torch.onnx.export(program, input_names=several or ["input"], output_names=["output"], verbose=False)
            assert made is not None
            for value in (*made.model.graph.inputs, *made.model.graph.outputs):
                _name_batch(value)
            made.model.metadata_props[KEY] = metadata
            made.save(path)

    def load(self, path: Path) -> Runs:
        """Return what ONNX Runtime makes of a file, on the CPU."""
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

        def run(*inputs: Tensor) -> Tensor:
            named = zip(session.get_inputs(), inputs, strict=True)
            return torch.from_numpy(session.run(["output"], {each.name: given.numpy() for each, given in named})[0])

        return run

    def metadata(self, path: Path) -> str:
        """Return the metadata in a file."""
        import onnx

        properties = {one.key: one.value for one in onnx.load(path, load_external_data=False).metadata_props}
        return str(properties[KEY])

    def loading(self, file: str, several: bool = False) -> str:
        """Return Python code for ONNX Runtime."""
        given = (
            "{each.name: own for each, own in zip(session.get_inputs(), inputs)}" if several else '{"input": inputs}'
        )
        return f"""import onnxruntime

session = onnxruntime.InferenceSession("{file}")
outputs = session.run(["output"], {given})[0]
metadata = session.get_modelmeta().custom_metadata_map["{KEY}"]
"""


def _name_batch(value: Any) -> None:
    """Call the first dimension of an input or output by its name."""
    shape = list(value.shape)
    value.shape = type(value.shape)(["batch", *shape[1:]])
