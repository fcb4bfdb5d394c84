"""ExecuTorch: for phones, boards and microcontrollers; on processors it runs XNNPACK's kernels."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor
from torch.export import ExportedProgram

from sglr.exporting.exporter import KEY, Exporter, Runs, first_output, quietly

__all__ = ["Executorch"]


class Executorch(Exporter):
    """Files ``.pte``; the metadata are what the method ``sglr`` returns.

    Memory is planned when a file is made, for `most_batch` samples: a call may have fewer, and not more.
    """

    suffix: ClassVar[str] = ".pte"
    needs: ClassVar[tuple[str, ...]] = ("executorch.exir", "executorch.runtime")
    extra: ClassVar[str] = "executorch"
    most_batch: ClassVar[int | None] = 64

    def write(self, program: ExportedProgram, path: Path, metadata: str) -> None:
        """Write a traced segment, lowered to XNNPACK where that has its operations."""
        with quietly():
            from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
            from executorch.exir import to_edge_transform_and_lower

            lowered = to_edge_transform_and_lower(
                program, partitioner=[XnnpackPartitioner()], constant_methods={KEY: metadata}
            )
            path.write_bytes(lowered.to_executorch().buffer)

    def load(self, path: Path) -> Runs:
        """Return what ExecuTorch's runtime makes of a file."""
        method = _program(path).load_method("forward")

        def run(*inputs: Tensor) -> Tensor:
            # What the runtime returns lies in its own memory, which the next call writes over.
            return first_output(method.execute(list(inputs))).clone()

        return run

    def metadata(self, path: Path) -> str:
        """Return the metadata in a file."""
        return str(_program(path).load_method(KEY).execute([])[0])

    def loading(self, file: str, several: bool = False) -> str:
        """Return Python code for ExecuTorch's runtime."""
        given = "[*map(torch.from_numpy, inputs)]" if several else "[torch.from_numpy(inputs)]"
        return f"""import torch
from executorch.runtime import Runtime

program = Runtime.get().load_program("{file}")
outputs = program.load_method("forward").execute({given})[0].numpy()
metadata = program.load_method("{KEY}").execute([])[0]
"""


def _program(path: Path) -> Any:
    with quietly():
        from executorch.runtime import Runtime

        return Runtime.get().load_program(path)
