"""``sglr plan``: the cost of an epoch with every method and cut, without training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sglr.cli.options import AsJson, Debug
from sglr.cli.plan_time import Ahead, Codes, PilotEpochs, PlanMethods, Rtt, Target, TimesAsked, show_time
from sglr.core.errors import UsageError

if TYPE_CHECKING:
    from sglr.planner.plan import CostPlan
    from sglr.planner.request import Request
    from sglr.planner.several_cuts import PlanOfCuts

_TRAINING, _HAND, _MODEL, _DEVICES = "Training", "Sizes by hand", "Sizes of a model", "Network and devices"
_ADVICE = "Advice"


def _option(flag: str, placeholder: str, panel: str, about: str) -> Any:
    return typer.Option(flag, metavar=f"<{placeholder}>", help=about, rich_help_panel=panel, show_default=False)


Clients = Annotated[int, _option("--clients", "int", _TRAINING, "Number of clients, |C|; default: 10")]
Samples = Annotated[
    int | None, _option("--samples", "int", _TRAINING, "Number of samples of all clients, |D|; default: the data set's")
]
Phi = Annotated[float, _option("--phi", "number", _TRAINING, "SplitAvg fraction φ, 0 to 1; default: 0.75")]
CutMb = Annotated[float | None, _option("--cut-mb", "number", _HAND, "One sample's smashed data, S(L), in MB")]
ModelMb = Annotated[float | None, _option("--model-mb", "number", _HAND, "The whole model, S(w), in MB (10⁶ bytes)")]
ClientMb = Annotated[float | None, _option("--client-mb", "number", _HAND, "The client's segment, S(w_c), in MB")]
Model = Annotated[
    str | None, _option("--model", "text", _MODEL, "Network (sglr list models), or package.module:function")
]
Cut = Annotated[str | None, _option("--cut", "text", _MODEL, "Last layer of the client; default: the model's own")]
Cuts = Annotated[
    str | None, _option("--cuts", "text", _MODEL, "Clients cut at different places: 0-4=conv1,5-9=40%; not --cut")
]
DatasetName = Annotated[str | None, _option("--dataset", "text", _MODEL, "Data set (sglr list datasets)")]
DataDir = Annotated[
    Path | None, _option("--data-dir", "path", _MODEL, "Folder with data files, read only if the shape is unknown")
]
InputShape = Annotated[
    str | None, _option("--input-shape", "int,…", _MODEL, "Shape of one input, such as 1,28,28, if not the data's")
]
Classes = Annotated[
    int | None, _option("--classes", "int", _MODEL, "Number of classes or of values wanted, if not the data's")
]
TaskName = Annotated[
    str | None, _option("--task", "text", _MODEL, "What the network learns (sglr list tasks); default: classification")
]
LoraText = Annotated[
    str | None, _option("--lora", "text", _MODEL, "Adapters that are trained, as sglr train takes them: r=8,targets=…")
]
Freeze = Annotated[
    str | None,
    _option("--freeze", "text", _MODEL, "Layers that stay as they are, as in sglr train: conv1+layer1"),
]
BatchSize = Annotated[
    int | None, _option("--batch-size", "int", _MODEL, "Samples of one client in one step, for its memory; default: 8")
]
Rate = Annotated[
    str, _option("--rate", "rate", _DEVICES, "Rate of a link or the medium: 1Gbps, 12.5MB/s; default: 100Mbps")
]
FlopsRate = Annotated[
    str | None, _option("--flops-rate", "rate", _DEVICES, "A client's computing rate: 500GFLOPS; default: T is 0")
]
ServerFlopsRate = Annotated[
    str | None, _option("--server-flops-rate", "rate", _DEVICES, "What the server computes; default: no time")
]
EnergyProfile = Annotated[
    str | None, _option("--energy-profile", "text", _DEVICES, "Devices for the energy estimate, by name or .toml file")
]
Advise = Annotated[
    bool,
    typer.Option("--advise", help="Say which method to take, by the study of all methods", rich_help_panel=_ADVICE),
]
Skew = Annotated[
    str | None,
    _option("--skew", "text", _ADVICE, "How clients' data differ: iid, dirichlet:0.5, shards:2; default: not known"),
]
Share = Annotated[
    bool | None,
    typer.Option(
        "--share-weights/--keep-weights",
        help="Whether client weights may be shared with the server; default: both answers",
        rich_help_panel=_ADVICE,
        show_default=False,
    ),
]
Tail = Annotated[str | None, typer.Option("--tail", hidden=True)]
Batching = Annotated[str, typer.Option("--batching", hidden=True)]


def plan(
    clients: Clients = 10,
    samples: Samples = None,
    phi: Phi = 0.75,
    cut_mb: CutMb = None,
    model_mb: ModelMb = None,
    client_mb: ClientMb = None,
    model: Model = None,
    cut: Cut = None,
    cuts: Cuts = None,
    dataset: DatasetName = None,
    data_dir: DataDir = None,
    input_shape: InputShape = None,
    classes: Classes = None,
    task: TaskName = None,
    lora: LoraText = None,
    freeze: Freeze = None,
    batch_size: BatchSize = None,
    rate: Rate = "100Mbps",
    flops_rate: FlopsRate = None,
    server_flops_rate: ServerFlopsRate = None,
    energy_profile: EnergyProfile = None,
    advise: Advise = False,
    skew: Skew = None,
    share: Share = None,
    tail: Tail = None,
    batching: Batching = "local",
    rtt: Rtt = None,
    pilot: PilotEpochs = None,
    target: Target = None,
    methods: PlanMethods = None,
    compressions: Codes = None,
    ahead: Ahead = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Estimate the cost of an epoch with FL, PSL, SFL and SGLR, and find the cheapest. Nothing is trained.

    Sizes are given by hand, or measured on a model at every possible cut. With --advise it says which method to take,
    also without sizes; with --rtt how long an epoch takes over your links, and with --pilot how long a score does.
    """
    del debug
    if tail is not None:
        remedy = "leave it out, or train an epoch with it: summary.json counts everything sent"
        raise UsageError("tail", tail, "a plan does not count features and their gradients", remedy)
    _check_advice(advise, skew, share)
    times = TimesAsked(rtt, methods, compressions, ahead, pilot, target)
    if advise and rtt is not None:
        raise UsageError("rtt", rtt, "tells times, and advice is asked for", "leave out --advise, or --rtt")
    from sglr.planner.request import BY_HAND, Request

    asked = Request(
        clients=clients,
        samples=samples,
        phi=phi,
        cut_mb=cut_mb,
        model_mb=model_mb,
        client_mb=client_mb,
        model=model,
        cut=cut,
        cuts=cuts,
        dataset=dataset,
        data_dir=data_dir,
        input_shape=input_shape,
        classes=classes,
        task=None if task == "auto" else task,
        batching=batching,
        lora=lora,
        freeze=freeze,
        batch_size=batch_size,
        rate=rate,
        flops_rate=flops_rate,
        server_flops_rate=server_flops_rate,
        energy_profile=energy_profile,
    )
    if advise:
        from sglr.cli.plan_advice import show_advice

        show_advice(_planned(asked, BY_HAND), model, skew, share, as_json=as_json)
    elif cuts is not None:
        from sglr.cli.plan_cuts import show_cuts, show_time_of_cuts

        if rtt is None:
            show_cuts(asked, as_json=as_json)
        else:
            show_time_of_cuts(asked, times, as_json=as_json)
    elif rtt is not None:
        show_time(asked, times, as_json=as_json)
    else:
        _show(asked, as_json=as_json)


def _show(asked: Request, *, as_json: bool) -> None:
    """Print the plan itself."""
    from sglr.cli.plan_tables import print_plan
    from sglr.planner.words import paragraphs

    found = asked.plan()
    words = paragraphs(found)
    if as_json:
        print(json.dumps(found.record() | {"words": words}, indent=2))
    else:
        print_plan(found, words)


def _planned(asked: Request, by_hand: Sequence[str]) -> CostPlan | PlanOfCuts | None:
    """Return the plan of the user's sizes, for advice; None where there are none."""
    if asked.cuts is not None:
        return asked.plan_of_cuts()
    given = any(getattr(asked, name) is not None for name in by_hand)
    measured = asked.model is not None and not (asked.dataset is None and asked.input_shape is None)
    return asked.plan() if given or measured else None


def _check_advice(advise: bool, skew: str | None, share: bool | None) -> None:
    """Refuse what only advice takes."""
    for name, value in (("skew", skew), ("share_weights", share)):
        if value is not None and not advise:
            raise UsageError(name, value, "is for advice, which is not asked for", "give --advise, or leave it out")
