"""A function of weights, buffers and inputs, traced once and compiled by ``torch.compile``.

Dynamo does not trace a ``vmap`` that our layers replace parts of, so the function is traced by running it: what remains
is a graph of plain operations, which is compiled for the shapes it was traced with.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from sglr.core.weights import Weights

log = logging.getLogger(__name__)

Run = Callable[[Weights, Weights, Tensor], tuple[Tensor, dict[str, Tensor]]]
"""From weights, buffers and inputs to outputs, and the buffers as they are afterwards."""

MODES = {"cpu": None, "cuda": "reduce-overhead"}
"""Modes of ``torch.compile``: on a GPU, what it compiles is replayed as a CUDA graph."""


class Compiled:
    """A function for inputs of certain shapes, compiled when it is first called.

    Where that fails, as without a C++ compiler, it runs as it is, and the log says so once.

    Parameters
    ----------
    run
        The function.
    """

    told = False

    def __init__(self, run: Run) -> None:
        self._run = run
        self._traced: Callable[[Sequence[Tensor]], Sequence[Tensor]] | None = None
        self._failed = False

    def __call__(self, weights: Weights, buffers: Weights, inputs: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Run it; called with other shapes than the first time, it fails."""
        if self._failed:
            return self._run(weights, buffers, inputs)
        given = [*weights.values(), *buffers.values(), inputs]
        try:
            outputs, *moved = self._traced(given) if self._traced is not None else self._first(weights, buffers, given)
        except Exception as error:  # compilers fail in many ways
            self._give_up(error)
            return self._run(weights, buffers, inputs)
        if inputs.is_cuda:
            # A CUDA graph writes over its outputs when it is replayed.
            outputs, moved = outputs.clone(), [tensor.clone() for tensor in moved]
        return outputs, dict(zip(buffers, moved, strict=True))

    def _first(self, weights: Weights, buffers: Weights, given: Sequence[Tensor]) -> Sequence[Tensor]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of itself while it compiles
            traced = self._trace(weights, buffers, given)
            found = traced(given)
        self._traced = traced
        return found

    def _trace(
        self, weights: Weights, buffers: Weights, given: Sequence[Tensor]
    ) -> Callable[[Sequence[Tensor]], Sequence[Tensor]]:
        names = (tuple(weights), tuple(buffers))

        def flat(values: Sequence[Tensor]) -> list[Tensor]:
            own = dict(zip(names[0], values[: len(weights)], strict=True))
            before = dict(zip(names[1], values[len(weights) : -1], strict=True))
            outputs, moved = self._run(own, before, values[-1])
            return [outputs, *(moved[name] for name in buffers)]

        # Tracing runs the function: whoever draws random numbers in it must not draw others afterwards.
        with torch.random.fork_rng(range(torch.cuda.device_count())):
            graph = make_fx(flat)(list(given))
        return torch.compile(graph, dynamic=False, mode=MODES[given[-1].device.type])

    def _give_up(self, error: Exception) -> None:
        self._failed = True
        if not Compiled.told:
            Compiled.told = True
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            log.warning("passes run without torch.compile, which failed: %s", reason)
