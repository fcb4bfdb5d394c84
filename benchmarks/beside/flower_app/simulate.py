"""Run the app in Flower's simulation: a process of Ray for each core, which holds clients one after another."""

from __future__ import annotations

import os

from fedavg.client_app import app as client_app
from fedavg.server_app import app as server_app
from fedavg.work import work
from flwr.simulation import run_simulation

if __name__ == "__main__":
    run_simulation(
        server_app,
        client_app,
        num_supernodes=len(work()["targets"]),
        backend_config={
            "init_args": {"address": "local", "num_cpus": len(os.sched_getaffinity(0)), "include_dashboard": False},
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
        },
    )
