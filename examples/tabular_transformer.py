"""Several findings in one table row: a transformer over columns, of your own, cut behind its first block."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.datasets import make_multilabel_classification
from torch import Tensor, nn

import sglr

FINDINGS = ("anaemia", "fever", "oedema", "rash")
SETTINGS: dict[str, Any] = {"task": "multilabel", "epochs": 8, "batch_size": 16, "lr": 2e-3}


class Columns(nn.Module):
    """A token for each column: its value times a vector, plus another (Gorishniy et al., arXiv 2106.11959)."""

    def __init__(self, columns: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(columns, width) / width**0.5)
        self.bias = nn.Parameter(torch.zeros(columns, width))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``[b, columns, width]``."""
        return x[..., None] * self.weight + self.bias


class Block(nn.Module):
    """Attention between columns, then two linear layers; both are added to what came in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.mix = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.grow = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``[b, columns, width]``."""
        query, key, value = self.mix(self.norms[0](x)).chunk(3, dim=-1)
        x = x + self.out(nn.functional.scaled_dot_product_attention(query, key, value))
        grown: Tensor = self.grow(self.norms[1](x))
        return x + grown


class Mean(nn.Module):
    """The mean over columns."""

    def forward(self, x: Tensor) -> Tensor:
        """Return ``[b, width]``."""
        return x.mean(1)


def transformer(input_shape: tuple[int, ...], classes: int, width: int = 32) -> nn.Sequential:
    """Return the network: a block at the client, and one at the server."""
    return nn.Sequential(
        Columns(input_shape[0], width),
        Block(width),
        Block(width),
        Mean(),
        nn.LayerNorm(width),
        nn.Linear(width, classes),
    )


def main() -> None:
    table, findings = make_multilabel_classification(
        1200, 20, n_classes=len(FINDINGS), n_labels=2, random_state=3, allow_unlabeled=True
    )
    table = (table - table.mean(0)) / table.std(0)
    known = np.arange(len(table)) < 900
    targets = sglr.Targets(FINDINGS, (len(FINDINGS),), classes=2)
    data = sglr.Dataset(
        "findings", part(table[known], findings[known]), part(table[~known], findings[~known]), targets=targets
    )
    central = train("all data in one place", "cl", data)
    split = train("five hospitals", "sglr", data, clients=5, cut=1)
    print(f"mean AUROC against the same network on all data: {split - central:+.3f}")


def part(inputs: Any, findings: Any) -> sglr.Samples:
    return sglr.Samples(torch.as_tensor(inputs, dtype=torch.float32), torch.as_tensor(findings))


def train(what: str, method: str, data: sglr.Dataset, **settings: Any) -> float:
    run = sglr.train(method, dataset=data, model=transformer, **SETTINGS, **settings)
    assert run.summary is not None
    test = run.summary["test"]
    each = ", ".join(f"{one['name']} {one['auroc']:.2f}" for one in test["per_label"])
    print(f"{what:22} mean AUROC {test['auroc']:.3f} ({each})   {run.path / 'report.html'}")
    return float(test["auroc"])


if __name__ == "__main__":
    main()
