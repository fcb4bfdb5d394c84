"""Train a network of your own on data of your own, cut where you like."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import sglr

CLASSES = ("sine", "square", "sawtooth")


class WaveNet(nn.Module):
    """Any module will do; this one has a skip connection around its second convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv1d(1, 8, 5, padding=2), nn.ReLU(), nn.MaxPool1d(2))
        self.body = nn.Conv1d(8, 8, 3, padding=1)
        self.head = nn.Sequential(nn.AdaptiveAvgPool1d(4), nn.Flatten(), nn.Linear(32, len(CLASSES)))

    def forward(self, waves: Tensor) -> Tensor:
        stem: Tensor = self.stem(waves)
        scores: Tensor = self.head(stem + torch.relu(self.body(stem)))
        return scores


def make_waves(number: int, seed: int) -> sglr.Samples:
    """Draw noisy waves ``[N, 1, 64]`` of three shapes."""
    rng = torch.Generator().manual_seed(seed)
    kinds = torch.randint(3, (number,), generator=rng)
    start, periods = torch.rand(number, 1, generator=rng), 2 + 2 * torch.rand(number, 1, generator=rng)
    phase = (start + periods * torch.linspace(0, 1, 64)) % 1
    shapes = torch.stack([torch.sin(2 * torch.pi * phase), torch.sign(phase - 0.5), 2 * phase - 1])
    waves = shapes[kinds, torch.arange(number)] + 0.5 * torch.randn(number, 64, generator=rng)
    return sglr.Samples(waves[:, None], kinds)


def main() -> None:
    model = WaveNet()
    print("places to cut:", ", ".join(sglr.cut_points(model)))
    lower, upper = sglr.split(model, at="stem")
    sizes = [sum(weights.numel() for weights in segment.parameters()) for segment in (lower, upper)]
    print(f"weights at each client: {sizes[0]}, at the server: {sizes[1]}")

    data = sglr.Dataset("waves", make_waves(1500, seed=1), make_waves(500, seed=2), CLASSES)
    run = sglr.train(sglr.SGLR(average="class"), model=model, cut="stem", dataset=data, clients=8, epochs=8, lr=5e-3)
    assert run.summary is not None
    for record in run.history:
        print(f"epoch {record['epoch']}: loss {record['loss']:.3f}, validation {record['validation_accuracy']:.3f}")
    print(f"test accuracy {run.summary['test']['accuracy']:.3f}; report: {run.path / 'report.html'}")


if __name__ == "__main__":
    main()
