"""Settings of how a network is trained: merges, epochs, batches, learning rates and first weights."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from sglr.runs.facts import setting


class TrainingSettings(BaseModel):
    """How it is trained."""

    merge_rule: str = setting(
        "Method",
        "mean",
        "how weights that clients share are merged (sglr list merge-rules)",
        axis=True,
        since="0.2.0",
    )
    merge: str | None = setting(
        "Method",
        None,
        "when client segments are averaged: never, epoch, or every so many steps; default: as the method has it",
        clients="take",
        axis=True,
        since="0.2.0",
    )
    participation: float = setting(
        "Method", 1.0, "share of the clients that take part in a round", build=False, gt=0, le=1
    )
    epochs: int = setting("Training", 5, "passes over the data", basic=True, build=False, ge=1)
    batch_size: int = setting("Training", 8, "samples of one client in one step, b", basic=True, clients="take", ge=1)
    batching: str = setting(
        "Training",
        "local",
        "whose samples make a step: local (b of each client), proportional:B (B together, of each client by its share"
        " of the data), global:B (B drawn from all data, as if in one place), clock:SPREAD (b of those who are ready"
        " next, on a simulated clock) or regulated:SPREAD (as many of each client as it is fast); default of B: b times"
        " the clients, of SPREAD: 10",
        since="0.2.0",
        clients="take",
        axis=True,
    )
    lr: float = setting(
        "Training",
        1e-3,
        "learning rate of clients, and the server's base",
        basic=True,
        build=False,
        gt=0,
        allow_inf_nan=False,
    )
    server_lr: float | None = setting(
        "Training", None, "the server's base rate, if it is not --lr", build=False, gt=0, allow_inf_nan=False
    )
    optimizer: str = setting(
        "Training", "adam", "any of torch.optim with its options, such as sgd:momentum=0.9", clients="take"
    )
    schedule: str = setting(
        "Training",
        "step",
        "learning rate over epochs: step (the paper's, times 0.1 at 80 %), constant, cosine, or plateau with"
        " options: plateau:factor=0.1,patience=3, times 0.1 where the validation score stops improving",
    )
    warmup: float = setting(
        "Training",
        0.0,
        "epochs, or a part of one, over which the learning rate rises from 0",
        since="0.2.0",
        ge=0,
        allow_inf_nan=False,
    )
    clip_norm: float | None = setting(
        "Training", None, "largest gradient norm, of each client and of the server", clients="take", build=False, gt=0
    )
    init: Literal["independent", "common"] = setting(
        "Method",
        "common",
        "do client segments start from the same weights or from weights of their own (the paper's)",
        basic=True,
        clients="take",
        axis=True,
    )
    client_optimizer: Literal["keep", "reset"] = setting(
        "Training",
        "keep",
        "clients keep their optimizers' memory between rounds, or begin each without (as in FedAvg)",
        clients="take",
    )
    augment: str = setting(
        "Training",
        "none",
        "random changes of training samples at the clients (sglr list augmentations), several joined by +:"
        " horizontal-flip+random-crop:padding=4",
        since="0.2.0",
        clients="take",
    )
    label_prior: Literal["ignore", "own", "pooled", "relative", "auto"] = setting(
        "Method",
        "ignore",
        "own: take each client's label frequencies out of the loss (for non-IID data); pooled: and out of the server's"
        " step those of all its clients together; relative: only how a client's differ from those of all; auto:"
        " relative where it can be, else ignore",
        clients="take",
        axis=True,
    )
    short_clients: Literal["wait", "cycle"] = setting(
        "Training",
        "wait",
        "a client whose data is over before others' waits for the next epoch, or begins again",
        clients="take",
    )
