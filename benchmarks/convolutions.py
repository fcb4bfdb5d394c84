"""Ways to convolve the images of stacked clients, layer by layer: how much slower than the same work unsplit.

One grouped convolution (what `stacking = stacked` does), batched products of matrices (`matmul`), and a loop over
clients, each forward and backward; all in one run, rounds alternating, ratios of the fastest rounds.

    python benchmarks/convolutions.py --write
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from record import machine, write_result
from sglr.stacking.convolution import grouped_convolution, matmul_convolution
from sglr.system.allocator import keep_freed_memory


class Layer(NamedTuple):
    """A convolution of one client, with zeros around the image so that a stride of 1 keeps its size."""

    name: str
    channels: int
    outputs: int
    size: int
    kernel: int = 3
    stride: int = 1
    by_images: bool = True  # is the gradient by the images wanted


LAYERS = (
    Layer("cnn, client", 1, 16, 28, by_images=False),
    Layer("resnet16, stem", 3, 16, 32, by_images=False),
    Layer("resnet16, stage 1", 16, 16, 32),
    Layer("resnet16, stage 2, first", 16, 32, 32, stride=2),
    Layer("resnet16, stage 2, shortcut", 16, 32, 32, kernel=1, stride=2),
    Layer("resnet16, stage 2", 32, 32, 16),
)


def contenders(layer: Layer, clients: int, batch: int, device: str) -> dict[str, Callable[[], object]]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(batch, clients * layer.channels, layer.size, layer.size, generator=generator).to(device)
    stacked = torch.unflatten(images.contiguous(memory_format=torch.channels_last), 1, (clients, -1))
    shape = (clients, layer.outputs, layer.channels, layer.kernel, layer.kernel)
    weight = torch.randn(shape, generator=generator).to(device)
    how = {"stride": layer.stride, "padding": layer.kernel // 2}
    options = {**how, "dilation": 1, "groups": 1}
    joint = stacked.transpose(0, 1).flatten(0, 1).contiguous(memory_format=torch.channels_last)

    def loop(x: Tensor, weights: Tensor) -> list[Tensor]:
        return [F.conv2d(own, w, None, **how) for own, w in zip(x.split(batch), weights.unbind(), strict=True)]

    ways: dict[str, tuple[Callable[[Tensor, Tensor], Tensor | list[Tensor]], Tensor, Tensor]] = {
        "unsplit": (lambda x, w: F.conv2d(x, w, None, **how), joint, weight[0]),
        "grouped": (lambda x, w: grouped_convolution(x, w, None, **options), stacked, weight),
        "matmul": (lambda x, w: matmul_convolution(x, w, None, **options), stacked, weight),
        "loop": (loop, joint, weight),
    }
    return {name: _steps(layer, *way) for name, way in ways.items()}


def _steps(
    layer: Layer, convolve: Callable[[Tensor, Tensor], Tensor | list[Tensor]], x: Tensor, weight: Tensor
) -> Callable[[], object]:
    """Return what takes one pass forward and backward."""
    x, weight = x.detach().requires_grad_(layer.by_images), weight.detach().requires_grad_()
    wanted = (weight, x) if layer.by_images else (weight,)

    def run() -> object:
        y = convolve(x, weight)
        parts = y if isinstance(y, list) else [y]
        return torch.autograd.grad(parts, wanted, [torch.ones_like(part) for part in parts])

    return run


def measure(layer: Layer, clients: int, batch: int, rounds: int, device: str) -> dict[str, object]:
    running = contenders(layer, clients, batch, device)
    best = dict.fromkeys(running, float("inf"))
    for round_ in range(rounds + 1):
        for name, run in running.items():
            started = time.perf_counter()
            run()
            if device != "cpu":
                torch.cuda.synchronize()
            if round_ > 0:
                best[name] = min(best[name], time.perf_counter() - started)
    row: dict[str, object] = {"layer": layer.name, "clients": clients, "batch": batch}
    row["milliseconds"] = {name: round(1e3 * seconds, 2) for name, seconds in best.items()}
    slower = {f"{name} / unsplit": round(best[name] / best["unsplit"], 2) for name in best if name != "unsplit"}
    return row | {"times": slower}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--write", action="store_true", help="keep the result under benchmarks/results")
    arguments = parser.parse_args()
    if arguments.device == "cpu":
        keep_freed_memory()
    rows = [measure(layer, arguments.clients, arguments.batch, arguments.rounds, arguments.device) for layer in LAYERS]
    command = f"python benchmarks/convolutions.py --device {arguments.device} --clients {arguments.clients} "
    command += f"--batch {arguments.batch} --rounds {arguments.rounds}"
    result: dict[str, object] = {"machine": machine(), "command": command, "rows": rows}
    write_result("convolutions", arguments.device, result, keep=arguments.write)


if __name__ == "__main__":
    main()
