"""Every setting of an experiment, with all that is known of it, is one field: of `Settings`, or of a base of it.

All keys are flat, as on the command line. What a fact means is told in `sglr.runs.facts`. Fields stand in the order of
``config.toml``: those of `ModelSettings`, those of `TrainingSettings`, then those of this file.
"""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict

from sglr.runs.facts import setting
from sglr.runs.model_settings import ModelSettings
from sglr.runs.training_settings import TrainingSettings


# Pydantic takes the fields of the last base first.
class Settings(TrainingSettings, ModelSettings):
    """The settings that belong to no part, in the order of ``config.toml``; the help sorts them by panel."""

    # A file may say merge = 2, and Python merge=2.
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), coerce_numbers_to_str=True)

    engine: str = setting("Machine", "local", "where clients live (sglr list engines)", clients="hidden")
    stacking: Literal["auto", "stacked", "matmul", "looped", "parallel"] = setting(
        "Machine",
        "auto",
        "run clients as one stacked call (matmul: with convolutions as products of matrices), or one after"
        " another (parallel: in each of several threads); auto measures what is fastest",
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
        "Machine",
        None,
        "CPU threads; default: all cores, or those that other programs leave free",
        decides="nothing",
        clients="own",
        build=False,
        ge=1,
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
        "how smashed data and gradients are written: none, bf16, fp16, int8, int4, int2 or topk:0.1 (a share), the"
        " last four also with feedback=true; up=int8,down=int4 is one for each; methods that send none ignore it",
        clients="take",
    )
    weight_compression: str = setting(
        "Between sites",
        "none",
        "how clients' weights are written on their way to be merged, as differences from the shared ones: bf16, fp16,"
        " int8, int4, int2 or topk:0.1; what is lost is added the next time",
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
