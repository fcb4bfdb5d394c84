"""PyTorch's own format: for Python with torch, and to be compiled by AOTInductor for C++."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import torch
from torch.export import ExportedProgram

from sglr.exporting.exporter import KEY, Exporter, Runs, quietly

__all__ = ["Torch"]

FILE = f"{KEY}.json"
"""The extra file in the archive that holds the metadata."""


class Torch(Exporter):
    """Files ``.pt2`` of ``torch.export``; the metadata are the extra file ``sglr.json``."""

    suffix: ClassVar[str] = ".pt2"

    def write(self, program: ExportedProgram, path: Path, metadata: str) -> None:
        """Write a traced segment, without the inputs that it was traced with."""
        program.example_inputs = None
        with quietly():
            torch.export.save(program, path, extra_files={FILE: metadata})

    def load(self, path: Path) -> Runs:
        """Return what ``torch.export.load`` makes of a file."""
        with quietly():
            runs: Runs = torch.export.load(path).module()
        return runs

    def metadata(self, path: Path) -> str:
        """Return the metadata in a file."""
        found = {FILE: ""}
        with quietly():
            torch.export.load(path, extra_files=found)
        return found[FILE]

    def loading(self, file: str, several: bool = False) -> str:
        """Return Python code for torch."""
        given = "*map(torch.from_numpy, inputs)" if several else "torch.from_numpy(inputs)"
        return f"""import torch

found = {{"{FILE}": ""}}
network = torch.export.load("{file}", extra_files=found).module()
outputs = network({given}).numpy(force=True)
metadata = found["{FILE}"]
"""
