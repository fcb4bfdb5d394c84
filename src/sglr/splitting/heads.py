"""Heads: a small network behind a client's own smashed data, so that the client has a loss without the server's help.

Han, Bhatti, Lee, Moon: *Accelerating Federated Learning with Split Learning on Locally Generated Losses* (2021).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Protocol

import torch
from torch import Tensor, nn

from sglr.core.errors import UsageError
from sglr.core.spec import Spec, options_of


class HeadedSegment(nn.Module):
    """A client's lower segment and its head as one module, to train and store together; it runs the lower one.

    Parameters
    ----------
    lower, head
        The segment, and the head: smashed data ``[b, ...]`` to outputs ``[b, ...]``.
    features
        Shape of one sample's smashed data, the head's input.
    """

    def __init__(self, lower: nn.Module, head: nn.Module, features: tuple[int, ...]) -> None:
        super().__init__()
        self.lower, self.head, self.features = lower, head, features

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the smashed data of ``inputs`` ``[b, ...]``."""
        smashed: Tensor = self.lower(inputs)
        return smashed

    def extra_repr(self) -> str:
        """Store the shape of the head's input, on which both sides must agree."""
        return f"features={self.features}"


class HeadShape(Protocol):
    """Layers of a head."""

    def build(self, cut: tuple[int, ...], output: tuple[int, ...]) -> nn.Module | None:
        """Return a head from smashed data of a shape to outputs of a shape, of one sample; None if it has none."""
        ...


@dataclass(frozen=True)
class LinearHead:
    """One linear layer: over all values, or over the channels at each position where outputs have positions."""

    def build(self, cut: tuple[int, ...], output: tuple[int, ...]) -> nn.Module | None:
        """Return it: for a label, for the tokens of a text ``[L, K]``, or for a mask ``[K, height, width]``."""
        if len(output) == 1:
            return nn.Sequential(nn.Flatten(), nn.Linear(prod(cut), *output))
        if len(output) == len(cut) == 2 and cut[0] == output[0]:
            return nn.Linear(cut[1], output[1])
        if len(output) == len(cut) in (3, 4):
            layer, mode = (nn.Conv2d, "bilinear") if len(cut) == 3 else (nn.Conv3d, "trilinear")
            return nn.Sequential(layer(cut[0], output[0], 1), nn.Upsample(output[1:], mode=mode))
        return None


@dataclass(frozen=True)
class PoolHead:
    """The mean of each channel over all places of an image or volume, and a linear layer."""

    def build(self, cut: tuple[int, ...], output: tuple[int, ...]) -> nn.Module | None:
        """Return it, for smashed data ``[channels, height, width]`` or ``[channels, depth, height, width]``."""
        if len(output) != 1 or len(cut) < 3:
            return None
        return nn.Sequential(nn.Flatten(2), MeanOfPlaces(), nn.Linear(cut[0], *output))


@dataclass(frozen=True)
class MlpHead:
    """A linear layer, ReLU, and another linear layer."""

    width: int = field(default=64, metadata={"help": "values between its two layers"})

    def build(self, cut: tuple[int, ...], output: tuple[int, ...]) -> nn.Module | None:
        """Return it, for outputs without positions."""
        if len(output) != 1:
            return None
        return nn.Sequential(nn.Flatten(), nn.Linear(prod(cut), self.width), nn.ReLU(), nn.Linear(self.width, *output))


class MeanOfPlaces(nn.Module):
    """The mean over the last dimension."""

    def forward(self, values: Tensor) -> Tensor:
        """Return the means ``[b, channels]`` of ``values`` ``[b, channels, places]``."""
        return values.mean(-1)


HEADS: dict[str, type[HeadShape]] = {"linear": LinearHead, "pool": PoolHead, "mlp": MlpHead}
"""Heads by name."""


def default_head(cut: tuple[int, ...], output: tuple[int, ...]) -> str:
    """Return the head that fits these shapes of one sample's smashed data and output: pool for images, else linear."""
    return "pool" if len(output) == 1 and len(cut) >= 3 else "linear"


def check_head(text: str) -> HeadShape:
    """Read ``linear``, ``pool`` or ``mlp:width=64``.

    Raises
    ------
    UsageError
        If there is no such head, or it has no such option.
    """
    spec = Spec.parse("head", text)
    if spec.name not in HEADS:
        raise UsageError("head", text, "there is no such head", f"give one of: {', '.join(HEADS)}")
    shape = HEADS[spec.name]
    options = spec.options(options_of(shape))
    if options.get("width", 1) < 1:
        raise UsageError("head", text, "a layer needs a value at least", "give such as mlp:width=64")
    return shape(**options)


def build_head(text: str | None, cut: tuple[int, ...], output: tuple[int, ...], seed: int) -> nn.Module:
    """Return a head with its first weights.

    Parameters
    ----------
    text
        As for `check_head`; None for the `default_head`.
    cut, output
        Shapes of one sample's smashed data and of its output.
    seed
        Of its first weights.

    Raises
    ------
    UsageError
        If there is no such head, or it does not fit the shapes.
    """
    text = text or default_head(cut, output)
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        head = check_head(text).build(cut, output)
    if head is None:
        problem = f"it does not lead from smashed data {list(cut)} to outputs {list(output)} of a sample"
        raise UsageError("head", text, problem, f"give --head {default_head(cut, output)}, or another cut")
    return head


def given_head(head: nn.Module) -> nn.Module:
    """Return a head whose weights clients are given and don't train: a client's own, as its buffers are."""
    for layer in head.modules():
        for name, weight in [*layer._parameters.items()]:
            if weight is not None:
                delattr(layer, name)
                layer.register_buffer(name, weight.detach().clone())
    return head
