"""``sglr plan``: the cost of an epoch with every method and cut, without training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sglr.cli.options import AsJson, Debug
from sglr.cli.plan_time import Ahead, Codes, PilotEpochs, PlanMethods, Rtt, Target, check_time, show_time
from sglr.core.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from sglr.planner.plan import CostPlan, CutCost

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
    check_time(rtt, pilot=pilot, target=target, methods=methods, compressions=compressions, ahead=ahead)
    from sglr.planner.request import BY_HAND, Request
    from sglr.planner.words import paragraphs

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
    if cuts is not None:
        from sglr.cli.plan_cuts import show_cuts

        show_cuts(asked, {"advise": advise, "rtt": rtt}, as_json=as_json)
        return
    if advise:
        from sglr.cli.plan_advice import show_advice

        by_hand = any(getattr(asked, name) is not None for name in BY_HAND)
        measured = model is not None and not (dataset is None and input_shape is None)
        show_advice(asked.plan() if by_hand or measured else None, model, skew, share, as_json=as_json)
        return
    if rtt is not None:
        show_time(asked, rtt, methods, compressions, ahead, pilot, target, as_json=as_json)
        return
    found = asked.plan()
    words = paragraphs(found)
    if as_json:
        print(json.dumps(found.record() | {"words": words}, indent=2))
    else:
        _print(found, words)


def _check_advice(advise: bool, skew: str | None, share: bool | None) -> None:
    """Refuse what only advice takes."""
    for name, value in (("skew", skew), ("share_weights", share)):
        if value is not None and not advise:
            raise UsageError(name, value, "is for advice, which is not asked for", "give --advise, or leave it out")


def _print(found: CostPlan, words: dict[str, list[str]]) -> None:
    from rich.console import Console

    from sglr.planner.words import setting

    console = Console(highlight=False)
    _say(console, words["answer"])
    console.print()
    _say(console, setting(found), style="dim")
    _show(console, "One epoch; medium: shared by all clients, links: one per client", *_traffic(found))
    parts = {"computation": found.scenario.work, "energy": found.scenario.profile}
    known = [name for name, part in parts.items() if part is not None]
    if known:
        _show(console, " and ".join(known).capitalize(), *_work(found))
    _say(console, words["crossovers"], "If one number changes and the others do not")
    if found.cuts:
        title = f"What crosses each cut, and what a client holds; a batch of {found.batch} samples; > yours"
        _show(console, title, *_at_clients(found))
        title = "Every cut, for an epoch of SGLR; > yours, * Pareto-optimal in bytes sent and client computation"
        _show(console, title, *_cuts(found))
        console.print()
        _say(console, words["cuts"])
    _say(console, words["advice"], "Accuracy: a rule of thumb, from docs/results/when-sglr-wins.md")
    _say(console, words["counted"], "Counted")


def _say(console: Console, sentences: Sequence[str], title: str = "", style: str = "") -> None:
    if title:
        console.print(f"\n[bold]{title}[/bold]")
    for sentence in sentences:
        console.print(sentence, markup=False, style=style)


def _show(console: Console, title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table without its empty columns."""
    from sglr.cli.screens import table
    from sglr.report.numbers import NONE

    kept = [at for at in range(len(headings)) if any(row[at] != NONE for row in rows)]
    console.print(f"\n[bold]{title}[/bold]")
    console.print(table([headings[at] for at in kept], [[row[at] for at in kept] for row in rows]))


def _traffic(found: CostPlan) -> tuple[list[str], list[list[str]]]:
    from sglr.planner.words import megabytes
    from sglr.report.numbers import clock

    rows = []
    for method, cost in found.methods.items():
        row = [method.upper(), megabytes(cost.views["paper"].per_client_mb)]
        for view in cost.views.values():
            row += [megabytes(view.total_mb), clock(view.seconds)]
        rows.append(row)
    # Headings break at spaces, except non-breaking ones.
    headings = ["", "paper per\u00a0client", "paper total", "paper time"]
    return [*headings, "medium total", "medium time", "links total", "links time"], rows


def _work(found: CostPlan) -> tuple[list[str], list[list[str]]]:
    from sglr.report.numbers import NONE, clock, joules, operations

    headings = [
        "",
        "a\u00a0client computes",
        "the\u00a0server computes",
        "in\u00a0time T",
        "energy",
        "network's energy",
    ]
    rows = [
        [
            method.upper(),
            operations(cost.client_flops),
            operations(cost.server_flops),
            clock(cost.compute_seconds) if cost.compute_seconds else NONE,
            joules(cost.joules),
            joules(cost.network_joules),
        ]
        for method, cost in found.methods.items()
    ]
    return headings, rows


def _at_clients(found: CostPlan) -> tuple[list[str], list[list[str]]]:
    from sglr.planner.costs import BYTES_PER_MB
    from sglr.planner.words import megabytes
    from sglr.report.numbers import NONE, percent

    headings = [
        "",
        "crosses",
        "one sample",
        "beside\u00a0it",
        "client trains",
        "frozen",
        "client holds",
        "its computing",
    ]
    rows = []
    for entry in found.cuts:
        cut, flops = entry.cut, entry.methods["fl"].client_flops or 1.0
        learned = [value for value in cut.crosses if value.learned]
        rows.append(
            [
                _marked(entry, found),
                "×".join(map(str, learned[0].shape)) + (f"\u00a0+{len(learned) - 1}" if len(learned) > 1 else ""),
                megabytes(cut.cut_mb),
                megabytes(cut.beside_mb) if cut.beside_mb else NONE,
                megabytes(cut.client_mb),
                megabytes(cut.frozen_mb) if cut.frozen_mb else NONE,
                megabytes(cut.memory.bytes(found.batch) / BYTES_PER_MB),
                percent((entry.methods["sglr"].client_flops or 0.0) / flops),
            ]
        )
    return headings, rows


def _marked(entry: CutCost, found: CostPlan) -> str:
    return f"{'>' if entry.cut.name == found.cut else ' '}{'*' if entry.efficient else ' '} {entry.cut.name}"


def _cuts(found: CostPlan) -> tuple[list[str], list[list[str]]]:
    from sglr.planner.plan import SPLIT
    from sglr.planner.words import megabytes
    from sglr.report.numbers import clock, joules

    headings = ["", "sent", "sent\u00a0by SFL", "time", "energy"]
    rows = []
    for entry in found.cuts:
        cost = entry.methods[SPLIT]
        rows.append(
            [
                _marked(entry, found),
                megabytes(cost.views["paper"].total_mb),
                megabytes(entry.methods["sfl"].views["paper"].total_mb),
                clock(cost.views["paper"].seconds),
                joules(cost.joules),
            ]
        )
    return headings, rows
