"""Split prediction against the joined network, in samples a second at batch 64.

The server, ``sglr serve RUN --predict``, is a process of its own on this machine, with mutual TLS over loopback. The
site and the joined network are in this process. Each computes with one thread. Both take the same samples, in turns.

    python benchmarks/split_prediction.py --write
"""

from __future__ import annotations

import argparse
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

import sglr
from record import machine, write_result
from sglr.sites.client_weights import WeightSource
from sglr.sites.connect import SiteOptions, connect
from sglr.sites.site_network import SiteNetwork

BATCH, SHAPE, CLASSES = 64, (1, 28, 28), 10
MODELS = ("resnet16", "cnn", "mlp")


def trained(model: str, folder: Path) -> Path:
    """Train a step or two: what the weights are makes no difference here."""
    inputs = torch.rand(64, *SHAPE)
    sglr.train(
        dataset=(inputs, torch.arange(64) % CLASSES),
        model=model,
        method="sfl",
        clients=2,
        epochs=1,
        device="cpu",
        out=folder,
    )
    return folder


def served(run: Path, folder: Path) -> tuple[subprocess.Popen[bytes], SiteNetwork]:
    """Start the server, and connect the first client to it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    words = ["serve", run, "--predict", "--listen", address, "--tokens", folder / "tokens", "--threads", 1]
    words += ["--device", "cpu", "--samples-per-minute", 10**9, "--quiet"]
    process = subprocess.Popen([sys.executable, "-m", "sglr", *map(str, words)], stdout=subprocess.DEVNULL)
    token = folder / "tokens" / "client-0.token"
    while not token.is_file():
        if process.poll() is not None:
            raise SystemExit("the server ended")
        time.sleep(0.1)
    options = SiteOptions(WeightSource(), device="cpu")
    return process, connect(address, token.read_text(), folder / "site", options)


def rate(predict: Callable[[torch.Tensor], object], inputs: torch.Tensor) -> float:
    """Return samples a second."""
    began = time.perf_counter()
    predict(inputs)
    return len(inputs) / (time.perf_counter() - began)


def joined(run: Path) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the joined network, batch by batch."""
    network = sglr.load_model(run)

    def predict(inputs: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            batches = [part.contiguous(memory_format=torch.channels_last) for part in inputs.split(BATCH)]
            return torch.cat([network(part) for part in batches])

    return predict


def measured(model: str, samples: int, rounds: int) -> dict[str, float]:
    """Measure a model; the difference of the answers is told, too."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = trained(model, folder / "run")
        process, site = served(run, folder)
        whole, inputs = joined(run), torch.rand(samples, *SHAPE)
        try:
            apart = float((site.outputs(inputs[:200], BATCH) - whole(inputs[:200])).abs().max())
            pairs = [(rate(whole, inputs), rate(lambda x: site.outputs(x, BATCH), inputs)) for _ in range(rounds)]
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)
    one, two = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(split / whole for whole, split in pairs)
    return {"joined_per_second": one, "split_per_second": two, "ratio": ratio, "largest_difference": apart}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--samples", type=int, default=6400)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--note", default="", help="such as that the machine was busy")
    parser.add_argument("--write", action="store_true", help="keep the result in benchmarks/results")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, object] = {}
    for model in arguments.models:
        found[model] = measured(model, arguments.samples, arguments.rounds)
        print(model, found[model], flush=True)
    command = f"python benchmarks/split_prediction.py --samples {arguments.samples} --rounds {arguments.rounds}"
    result = {"machine": machine(), "command": command, "note": arguments.note, "batch": BATCH, "models": found}
    write_result("split_prediction", "cpu", result, keep=arguments.write)


if __name__ == "__main__":
    main()
