"""Every setting of an experiment, with all that is known of it: this is the one place where a setting is added.

All keys are flat, as on the command line. What a fact means is told in `sglr.runs.facts`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, field_validator

from sglr.runs.client_cuts import written
from sglr.runs.facts import setting


class Settings(BaseModel):
    """The settings that belong to no part, in the order of ``config.toml``; the help sorts them by panel."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    @field_validator("cuts", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        return written(value)

    method: str = setting(
        "Method", "sglr2", "training method (sglr list methods); sglr is the paper's", basic=True, clients="take"
    )
    model: str = setting(
        "Model",
        "cnn",
        "network (sglr list models), one of a library (torchvision:resnet18, timm:NAME, hf:PATH), or your own"
        " package.module:function",
        basic=True,
        clients="take",
    )
    pretrained: bool | None = setting(
        "Model",
        None,
        "begin with the library's pretrained weights (models such as torchvision:NAME); default: those of hf:PATH do",
        since="0.2.0",
        clients="take",
    )
    weights: Path | None = setting(
        "Model",
        None,
        "file of weights to begin with instead (.safetensors, or torch's .pt and .pth), for models of a library",
        since="0.2.0",
        clients="take",
    )
    task: str = setting(
        "Model",
        "auto",
        "what the network learns (sglr list tasks), or your own package.module:Name; auto: classification, where each"
        " sample has a class",
        basic=True,
        clients="take",
        since="0.2.0",
    )
    cut: str | int | None = setting(
        "Model",
        None,
        "last layer of the client: a name, a Sequential index, or the share of the operations that clients compute,"
        " such as 40% (sglr cuts lists all); default: the model's own cut",
        basic=True,
        clients="take",
    )
    cuts: str | None = setting(
        "Model",
        None,
        "last layer of each client, where these differ: ranges of clients with their cuts, such as"
        " 0-4=layer1,5-9=40%; in TOML and Python a table; instead of --cut",
        since="0.2.0",
        clients="take",
    )
    tail: str | int | None = setting(
        "Model",
        None,
        "last layer of the server, named like --cut: what follows stays with the clients, as do all labels"
        " (U-shape); default: the server has all layers behind the cut, and the labels",
        clients="take",
    )
    head: str | None = setting(
        "Model",
        None,
        "small network at the client behind its smashed data, for methods with losses of their own (cse-fsl, fsl-sage):"
        " linear, pool (the mean of each channel, then linear) or mlp:width=64; default: pool for images, else linear",
        axis=True,
        since="0.2.0",
        clients="take",
    )
    lora: str | None = setting(
        "Model",
        None,
        "train low-rank adapters in a frozen network: r=8,alpha=16,dropout=0,targets=query+value (names of layers; all,"
        " all-linear), at=both (clients, server), modules_to_save=auto (layers trained whole; auto: the last); needs"
        " sglr[lora]",
        since="0.2.0",
        clients="take",
    )
    freeze: str | None = setting(
        "Model",
        None,
        "layers that stay as they are, such as the first ones of a pretrained network: names joined by +, such as"
        " conv1+bn1+layer1",
        since="0.2.0",
        clients="take",
    )
    quantize: Literal["none", "int8", "nf4"] = setting(
        "Model",
        "none",
        "keep frozen linear layers in 8 bits (int8) or 4 (nf4); what is trained is not rounded",
        since="0.2.0",
        clients="take",
    )
    dataset: str = setting(
        "Data", "digits", "data (sglr list datasets), or folder:PATH, table:PATH, hf:NAME", basic=True
    )
    data_dir: Path | None = setting(
        "Data", None, "folder with data files; default: $SGLR_DATA_DIR", decides="nothing", clients="own"
    )
    partition: str = setting(
        "Data", "iid", "how data is divided among clients (sglr list partitioners)", basic=True, clients="take"
    )
    clients: int = setting("Data", 10, "number of clients, |C|", basic=True, clients="take", ge=1)
    samples_per_client: int | None = setting(
        "Data", None, "most samples a client owns; default: all there are", clients="take", ge=1
    )
    validation: int | float | None = setting(
        "Data",
        None,
        "samples (or share below 1) held apart for validation; default: the data set's own",
        clients="take",
        ge=0,
    )
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
    engine: str = setting("Machine", "local", "where clients live (sglr list engines)", clients="hidden")
    stacking: Literal["auto", "stacked", "matmul", "looped"] = setting(
        "Machine",
        "auto",
        "run clients as one stacked call (matmul: with convolutions as products of matrices), or one after"
        " another; auto measures what is fastest",
        clients="hidden",
    )
    precision: Literal["fp32", "tf32", "bf16"] = setting(
        "Machine", "fp32", "what passes are computed in: tf32 is for CUDA devices, bf16 is mixed precision"
    )
    compile: bool = setting("Machine", False, "compile passes in training with torch.compile")
    client_store: Literal["auto", "memory", "disk"] = setting(
        "Machine",
        "auto",
        "where clients are that don't take part: memory is beside those who do, on the device; disk is the"
        " run's folder; auto chooses by their number and size",
        decides="records",
    )
    device: str = setting("Machine", "auto", "auto, cpu or cuda", basic=True, clients="own")
    threads: int | None = setting(
        "Machine", None, "CPU threads; default: torch's own choice", decides="nothing", clients="own", build=False, ge=1
    )
    accumulate: int = setting(
        "Training",
        1,
        "steps whose gradients are averaged for one update, at clients and server: batches of K·b samples in the"
        " memory of b",
        since="0.2.0",
        clients="take",
        ge=1,
    )
    seed: int = setting("Training", 0, "seed of all random draws", basic=True, clients="take", build=False, ge=0)
    monitor: str | None = setting(
        "Evaluation",
        None,
        "the validation score that chooses the best epoch: loss, or any of the task's; default: the task's first",
        since="0.2.0",
    )
    early_stopping: int | None = setting(
        "Evaluation",
        None,
        "validations in a row without a better score with which the training ends; default: all epochs",
        build=False,
        since="0.2.0",
        ge=1,
    )
    eval_every: int = setting("Evaluation", 1, "epochs between validations", build=False, ge=1)
    eval_clients: int = setting(
        "Evaluation", 20, "most client segments a validation looks at; 0 is all", build=False, ge=0
    )
    test_clients: int = setting(
        "Evaluation", 1000, "most client segments the final test looks at; 0 is all", build=False, ge=0
    )
    test_samples: int | None = setting(
        "Evaluation", None, "most test samples that are used; default: all there are", clients="take", ge=1
    )
    checkpoint_every: int = setting(
        "Output", 0, "steps between checkpoints inside an epoch; 0 is none", build=False, ge=0
    )
    keep_checkpoints: int = setting(
        "Output", 3, "how many of the newest checkpoints stay", decides="nothing", build=False, ge=2
    )
    compression: str = setting(
        "Between sites",
        "none",
        "how smashed data and gradients are written: none, bf16, fp16, int8, int4 or topk:0.1 (a share), the last"
        " three also with feedback=true; up=int8,down=int4 is one for each; methods that send none ignore it",
        clients="take",
    )
    weight_compression: str = setting(
        "Between sites",
        "none",
        "how clients' weights are written on their way to be merged, as differences from the shared ones: bf16, fp16,"
        " int8, int4 or topk:0.1; what is lost is added the next time",
        clients="take",
        since="0.2.0",
    )
    leakage: str = setting(
        "Privacy",
        "",
        "measure what leaks while training: every=1 is after every epoch; also clients=1, samples=256",
        decides="records",
    )
    defence: str = setting(
        "Privacy",
        "none",
        "what is done against leakage (sglr list defences), with options, several joined by +:"
        " nopeek:weight=0.5, or clip:norm=10+noise:sigma=0.5",
        since="0.1.0",
        clients="take",
    )
    min_clients: int | None = setting(
        "Between sites",
        None,
        "fewest clients to train with (engine remote); default: all who joined and did not leave",
        decides="records",
        ge=1,
    )
    step_deadline: float | None = setting(
        "Between sites",
        None,
        "seconds until a step goes on without who is late; default: it waits",
        decides="records",
        gt=0,
        allow_inf_nan=False,
    )
    max_misses: int = setting(
        "Between sites", 10, "deadlines missed in a row until a client is no longer waited for", decides="records", ge=1
    )
    pipelining: int = setting(
        "Between sites",
        0,
        "batches that clients run forward ahead of their gradients, 0 to 8; gradients are then as many steps old."
        " Without a number: 1. Other engines than remote train with as old gradients",
        clients="take",
        bare="1",
        ge=0,
        le=8,
    )
    delay_compensation: float = setting(
        "Between sites",
        0.0,
        "correct old gradients: g + λ g² (weights now - weights then), with this λ (--pipelining)",
        clients="take",
        since="0.2.0",
        ge=0,
        allow_inf_nan=False,
    )
    link: str = setting(
        "Between sites",
        "none",
        "make connections as slow as a network: rtt=100ms,rate=20Mbit, also jitter=10ms and loss=1%; by client:"
        " 0-4=rtt=100ms;5=rtt=20ms (engine remote)",
        decides="records",
        clients="take",
        build=False,
        engine="remote",
        since="0.2.0",
    )
    ray_address: str | None = setting(
        "Cluster",
        None,
        "the Ray cluster to use: auto, or HOST:PORT (engine ray); default: one that starts on this machine",
        decides="records",
        engine="ray",
    )
    block_clients: int | None = setting(
        "Cluster",
        None,
        "most clients that one process holds (engine ray); default: a process for every GPU or processor",
        decides="records",
        engine="ray",
        ge=1,
    )
    ray_server: Literal["driver", "cluster"] = setting(
        "Cluster",
        "driver",
        "where the server's segment computes: in the process that you start, or in one of the cluster, on a"
        " GPU if it has any (engine ray)",
        decides="records",
        engine="ray",
    )
    track: str = setting(
        "Output",
        "none",
        "trackers that are told of the run (sglr list trackers), with options, several joined by +:"
        " tensorboard+mlflow:uri=sqlite:///mlflow.db; needs sglr[track]",
        decides="nothing",
        clients="hidden",
        build=False,
        since="0.2.0",
    )
    energy: bool = setting(
        "Costs",
        False,
        "measure the energy that this machine uses; needs sglr[energy]",
        decides="records",
        clients="hidden",
    )
    energy_profile: str = setting(
        "Costs",
        "edge-wifi",
        "devices that modelled energy is for, or a TOML file with your own figures",
        decides="records",
        clients="hidden",
    )
    clock: str | None = setting(
        "Costs",
        None,
        "devices and links of the clients, to model how long the training takes: phone/4g,"
        " 0-4=phone/4g,5-9=laptop/wifi, a table (.csv), or lognormal:phone/4g,sigma=0.5; default: no time is modelled",
        since="0.2.0",
        clients="hidden",
    )
    stragglers: str = setting(
        "Training",
        "wait",
        "with --clock, what a step does about late clients: wait, deadline:SECONDS or quorum:NUMBER (the others are"
        " absent), or buffer:NUMBER (asynchronous: the server steps on so many batches as they arrive)",
        since="0.2.0",
        clients="hidden",
    )
    name: str = setting(
        "Output", "", "name of the run, in its folder's name and in tables", decides="nothing", build=False
    )
