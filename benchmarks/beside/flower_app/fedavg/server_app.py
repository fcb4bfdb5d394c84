"""The server's rounds: Flower's FedAvg with everyone in each, which evaluates nothing."""

from __future__ import annotations

import torch
from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from fedavg.work import FOLDER, network, work

app = ServerApp()


def wait_for_leave(round_: int) -> None:
    """Say on the pipe that a round is over, and wait until the next may begin; the first may at once."""
    if round_:
        with (FOLDER / "done").open("w", encoding="utf-8") as pipe:
            pipe.write(f"{round_}\n")
        with (FOLDER / "go").open(encoding="utf-8") as pipe:
            pipe.readline()


@app.main()
def main(grid: Grid, _: Context) -> None:
    """Train as many rounds as the work has, and keep the weights."""
    given = work()
    everyone = len(given["targets"])
    strategy = FedAvg(fraction_train=1.0, fraction_evaluate=0.0, min_train_nodes=everyone, min_available_nodes=everyone)
    torch.manual_seed(0)
    result = strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord(network().state_dict()),
        num_rounds=given["rounds"],
        evaluate_fn=lambda round_, _: wait_for_leave(round_),
    )
    torch.save(result.arrays.to_torch_state_dict(), FOLDER / "weights.pt")
