"""A client that may take part and sends well-formed numbers that no training goes on from, again and again."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from sglr.engines.remote.wire.frames import Frame
from sglr.engines.remote.wire.layouts import Layout

from .attacker import Act, Line

VALUES = (math.nan, math.inf, -math.inf, 1e30)
LOSSES = (math.nan, math.inf, 1.7e308, -1.7e308)

SAMPLES = 20
"""|D_i| of the run, in batches of eight."""

PARTS = {"validation": 30, "test": 40}

Change = Callable[[dict[str, Tensor], int], Any]
"""Changes tensors that an honest client could send; it is also told how many messages it has changed."""


def one_value(tensors: dict[str, Tensor], number: int) -> None:
    """Make one value extreme."""
    next(iter(tensors.values())).view(-1)[3] = VALUES[number % len(VALUES)]


def unchanged(tensors: dict[str, Tensor], number: int) -> None:
    del tensors, number


class Extremist:
    """Answers every request, each kind of them with changed numbers; refuses what names its weights.

    Parameters
    ----------
    changes
        What it does to the tensors of its messages, by their kind; the losses that it tells are extreme if they are
        named.
    features
        Width of the server's output where labels stay with the clients; 0 where they go with their activations.
    """

    def __init__(self, changes: Mapping[str, Change], features: int = 0) -> None:
        self._changes, self._features = changes, features
        self._layout: Layout = {}
        self.sent: dict[str, int] = {}

    def act(self) -> Act:
        async def play(line: Line) -> None:
            await line.hello()
            while (frame := await line.next()) is not None:
                if frame.kind == "publish":
                    self._layout = {one.name: (torch.float32, tuple(one.shape)) for one in frame.envelope.tensors}
                if frame.kind not in ("welcome", "publish"):
                    await self._answer(line, frame)

        return play

    async def _answer(self, line: Line, frame: Frame) -> None:
        seq, told = frame.envelope.seq, frame.envelope
        if frame.kind == "forward" or (frame.kind == "gradient" and told.gradient.then_forward):
            step = told.where.step + (frame.kind == "gradient")
            await line.send("smashed", self._changed("smashed", self._batch(line, _size(step))), seq=seq)
        elif frame.kind == "snapshot":
            await line.send("done", seq=seq, digest="ab" * 32)
        elif frame.kind == "collect" and "weights" in self._changes:
            weights = {name: torch.zeros(shape) for name, (_, shape) in self._layout.items()}
            await line.send("weights", self._changed("weights", weights), seq=seq)
        elif frame.kind == "evaluate" and "scores" in self._changes:
            part = PARTS[told.evaluate.part]
            await line.send("scores", self._changed("scores", self._batch(line, part)), seq=seq, samples=part)
        elif frame.kind == "alone":
            await line.send("tally", seq=seq, samples=SAMPLES, loss=self._loss("tally"), bad_step=-1)
        elif frame.kind == "features" and told.features.part:
            samples = PARTS[told.features.part]
            await line.send("tally", seq=seq, samples=samples, loss=self._loss("tally"), bad_step=-1)
        elif frame.kind == "features":
            values = {"values": torch.zeros(_size(told.where.step), self._features)}
            loss = self._loss("loss")
            await line.send("feature_gradients", self._changed("gradients", values), seq=seq, loss=loss)
        elif frame.kind != "gradient":
            await line.send("refusal", seq=seq, reason="its weights are nobody's affair")

    def _loss(self, kind: str) -> float:
        return LOSSES[self._number(kind) % len(LOSSES)] if kind in self._changes else 1.0

    def _number(self, kind: str) -> int:
        self.sent[kind] = self.sent.get(kind, 0) + 1
        return self.sent[kind] - 1

    def _changed(self, kind: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        self._changes.get(kind, unchanged)(tensors, self._number(kind))
        return tensors

    def _batch(self, line: Line, size: int) -> dict[str, Tensor]:
        values = {"values": torch.zeros(size, *line.description.cut_shape)}
        return values if self._features else {**values, "labels": torch.zeros(size, dtype=torch.int64)}


def _size(step: int) -> int:
    return min(8, SAMPLES - 8 * step)
