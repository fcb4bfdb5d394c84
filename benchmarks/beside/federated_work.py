"""The work that sglr and Flower are both given: clients' images, and how they are trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from sglr.assembly.client_data import load
from sglr.core.data import Samples
from sglr.core.errors import SglrError
from sglr.core.model import build_model
from sglr.runs.config import Experiment

TESTED = 1000


@dataclass(frozen=True)
class Work:
    """Federated averaging of the small CNN: an epoch a round, Adam that begins anew in each.

    Parameters
    ----------
    clients, samples, batch
        Number of clients, samples of each, and of a step.
    rounds
        Rounds from start to end.
    """

    clients: int
    samples: int
    batch: int
    rounds: int

    @property
    def flags(self) -> list[str]:
        """What ``sglr train`` is told of it, but for the data."""
        own = {"clients": self.clients, "batch-size": self.batch, "epochs": self.rounds}
        own |= {"method": "fl", "model": "cnn", "lr": 0.001, "optimizer": "adam", "client-optimizer": "reset"}
        own |= {"validation": 0, "eval-every": self.rounds, "device": "cpu"}
        return [f"--{name}={value}" for name, value in own.items()]

    def write(self, folder: Path, train: Samples, test: Samples) -> None:
        """Write it for both: ``work.npz`` for sglr, ``work.pt`` for Flower."""
        number = self.clients * self.samples
        inputs, targets = train.inputs[:number], train.targets[:number]
        arrays = {"x_train": inputs, "y_train": targets, "x_test": test.inputs, "y_test": test.targets}
        np.savez(folder / "work.npz", **{name: array.numpy() for name, array in arrays.items()})
        parts = (self.clients, self.samples)
        told = {"inputs": inputs.reshape(*parts, *inputs.shape[1:]).clone(), "targets": targets.reshape(parts).clone()}
        torch.save(told | {"batch": self.batch, "rate": 0.001, "rounds": self.rounds}, folder / "work.pt")


def images(number: int) -> tuple[str, Samples, Samples]:
    """Return images of Fashion-MNIST, or noise of their shape where they are not here: name, training and test."""
    try:
        data = load(Experiment.from_flat({"dataset": "fashion-mnist", "model": "cnn"}))
    except SglrError:
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(number + TESTED, 1, 28, 28, generator=generator)
        every = Samples(noise, torch.arange(number + TESTED) % 10)
        rows = torch.arange(number + TESTED)
        return "noise", every.select(rows[:number]), every.select(rows[number:])
    return "fashion-mnist", data.train.select(torch.arange(number)), data.test.select(torch.arange(TESTED))


def accuracy(weights: dict[str, Tensor], test: Samples) -> float:
    """Return the share of test images that the small CNN has right with some weights."""
    network: nn.Module = build_model("cnn", (1, 28, 28), 10)
    network.load_state_dict(weights)
    with torch.no_grad():
        return float((network(test.inputs).argmax(1) == test.targets).float().mean())
