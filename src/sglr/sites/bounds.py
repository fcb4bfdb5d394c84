"""What a run states, compared with what a site has before anything of that size is made: pictures, model."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sglr.assembly.task import named_task
from sglr.core.errors import UsageError
from sglr.core.model import build_model
from sglr.core.registry import model_prefix
from sglr.data.class_folders import walk
from sglr.data.images.decode import PICTURES
from sglr.engines.remote.run_description import INPUT_TYPES, RunDescription
from sglr.runs.config import Experiment
from sglr.system.machine import refuse_beyond_memory

MOST_ENLARGED = 32
"""How many times as high and wide a site's pictures may become: pictures of 8 pixels can be what a model for 224 takes,
and no model needs more."""

SMALL_INPUT, FEW_CLASSES = 1 << 18, 10_000
"""Values of an input and outputs up to which any registered model fits; torch takes seconds to begin to tell sizes."""


def refuse_enlargement(folder: Path, size: int, anyway: str = "if so, give --image-size {size}") -> None:
    """Refuse a run whose inputs are out of all proportion to a site's pictures; only their headers are read.

    Parameters
    ----------
    folder
        The pictures.
    size
        Height and width of the run's inputs.
    anyway
        What to do if that is meant.

    Raises
    ------
    UsageError
        If no picture is so large that it would be enlarged `MOST_ENLARGED` times or less.
    """
    largest = 0
    for side in _sides(folder):
        largest = max(largest, side)
        if size <= MOST_ENLARGED * side:
            return
    if largest:
        problem = f"the largest picture of {folder} has {largest} pixels a side"
        remedy = f"ask the operator whether {size} is meant; {anyway.format(size=size)}"
        raise UsageError("input_shape", f"{size} x {size}", problem, remedy)


def _sides(folder: Path) -> Iterator[int]:
    """Yield the longer side of each picture that Pillow can make out."""
    from PIL import Image

    for picture in (path for path in walk(folder) if PICTURES.has(path.name)):
        try:
            with Image.open(picture) as image:
                yield max(image.size)
        except Image.DecompressionBombError:
            yield Image.MAX_IMAGE_PIXELS or 1
        except Exception:  # what can't be read is told when it is read
            continue


def refuse_model_beyond_memory(experiment: Experiment, description: RunDescription) -> None:
    """Refuse a run whose model, for the inputs and classes that it states, takes more than this machine has.

    The model is made without memory (torch's ``meta`` device) and run forward once. A site's own code is its choice.

    Raises
    ------
    UsageError
        If weights, or activations of two samples, don't fit the memory.
    """
    small = math.prod(description.input_shape) <= SMALL_INPUT and _outputs(experiment, description) <= FEW_CLASSES
    if small if ":" not in experiment.model else model_prefix(experiment.model) is None:
        return
    try:
        needed = _bytes_of_model(experiment, description)
    except Exception:  # whatever a model's code raises where there are no numbers; it is built next
        return
    shape = ",".join(map(str, description.input_shape))
    what = f"model {experiment.model} for {_outputs(experiment, description)} classes"
    refuse_beyond_memory(needed, "input_shape", shape, what, "ask the operator whether these inputs are meant")


def _outputs(experiment: Experiment, description: RunDescription) -> int:
    """Return how many values the model gives for a sample (or for each of its pixels or positions)."""
    return named_task(experiment).outputs(description.targets)


def _bytes_of_model(experiment: Experiment, description: RunDescription) -> int:
    with torch.device("meta"), torch.no_grad():
        outputs = _outputs(experiment, description)
        shape = named_task(experiment).output_shape(description.targets)
        model = build_model(
            experiment.model, description.input_shape, outputs, pretrained=False, output_shape=shape
        ).eval()
        weights = sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))
        passed: list[int] = []

        def note(module: nn.Module, inputs: object, outputs: Any) -> None:
            del module, inputs
            passed.append(outputs.nbytes if isinstance(outputs, Tensor) else 0)

        for module in model.modules():
            module.register_forward_hook(note)
        model(torch.empty(2, *description.input_shape, dtype=INPUT_TYPES[description.input_type]))
    # The whole model is there twice while it is cut.
    return 2 * weights + max(passed, default=0)
