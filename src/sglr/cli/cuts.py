"""``sglr cuts``: every place where a model can be cut, with what crosses there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sglr.cli.options import AsJson, Config, Debug
from sglr.core.errors import UsageError

if TYPE_CHECKING:
    from sglr.leakage.at_cuts import CutTable
    from sglr.planner.cut_figures import CutFigures

_PANEL = "Cuts"

WIDE = 110
"""Columns of a terminal from which the server's figures are shown, too."""


def _option(flag: str, placeholder: str, about: str) -> Any:
    return typer.Option(flag, metavar=f"<{placeholder}>", help=about, rich_help_panel=_PANEL, show_default=False)


Network = Annotated[
    str | None, typer.Argument(metavar="[MODEL]", help="Network, as --model takes it.", show_default=False)
]
Shape = Annotated[
    str | None, _option("--input-shape", "int,…", "Shape of one input, such as 3,32,32, instead of a data set")
]
Rate = Annotated[str, _option("--rate", "rate", "A client's link: 20Mbit/s, 12.5MB/s; default: 100Mbps")]
Rtt = Annotated[str, _option("--rtt", "time", "A round trip to the server: 50ms, 0.2s; default: 20ms")]
ClientFlops = Annotated[str, _option("--flops-rate", "rate", "What a client computes; default: 20GFLOPS")]
ServerFlops = Annotated[str, _option("--server-flops-rate", "rate", "What the server computes; default: 1TFLOPS")]
Samples = Annotated[
    int, _option("--samples", "int", "Samples by which it is measured what leaks; 0 is none; default: 64")
]
Depth = Annotated[
    int | None, _option("--depth", "int", "Leave out layers inside of more than so many others; default: all are shown")
]


def cuts(
    ctx: typer.Context,
    network: Network = None,
    shape: Shape = None,
    link_rate: Rate = "100Mbps",
    link_rtt: Rtt = "20ms",
    client_rate: ClientFlops = "20GFLOPS",
    server_rate: ServerFlops = "1TFLOPS",
    leak_samples: Samples = 64,
    depth: Depth = None,
    config: Config = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """List every cut of a model in the order of execution, with what crosses it. Nothing is trained.

    The data set gives the shape of inputs and the number of classes, and a few of its samples show how much of the
    inputs is left in what crosses.
    """
    del debug
    from sglr.cli.train import read_experiment
    from sglr.cost.units import read_flops_rate, read_rate, read_time
    from sglr.leakage.at_cuts import table_of
    from sglr.planner.cut_figures import Link

    given = dict(ctx.obj)
    if network is not None:
        given["model"] = network
    link = Link(
        read_rate(link_rate) * 1e6,
        read_time(link_rtt, "rtt"),
        read_flops_rate(client_rate),
        read_flops_rate(server_rate, "server_flops_rate"),
    )
    if depth is not None and depth < 0:
        raise UsageError("depth", depth, "is below 0", "give 0 for the model's own children")
    found = table_of(read_experiment(config, given), link, _shape(shape), leak_samples)
    if as_json:
        print(json.dumps(found.record(), indent=2))
    else:
        _print(found, depth)


def _shape(text: str | None) -> tuple[int, ...] | None:
    from sglr.planner.request import read_shape

    return None if text is None else read_shape(text)


def _print(found: CutTable, depth: int | None) -> None:
    from rich.console import Console

    from sglr.cli.screens import table
    from sglr.report.numbers import duration, size

    console = Console(highlight=False)
    cheapest, private = found.cheapest, found.most_private
    marked = {cheapest.layer, found.own, None if private is None else private.layer}
    shown = [cut for cut in found.cuts if depth is None or cut.layer.count(".") <= depth or cut.layer in marked]
    console.print(f"{found.model}, inputs {'×'.join(map(str, found.input_shape))}: {_counted(found)}", markup=False)
    console.print()
    wide = console.width >= WIDE
    headings, rows = _table(found, shown, both=wide)
    console.print(table(headings, rows, named=2))
    console.print()
    step = found.link.seconds(cheapest, found.batch)
    seconds = f"{1000 * step:.0f} ms" if step < 10 else duration(step)
    console.print(
        f"* least time: {cheapest.layer}, {seconds} for a step of {found.batch} samples"
        f" ({size(found.link.rate)}/s, round trip {1000 * found.link.rtt:g} ms)",
        markup=False,
    )
    if private is not None:
        console.print(
            f"o least left of the inputs: {private.layer}, distance correlation {private.leak:.2f} of {found.samples}"
            " samples with the weights that training begins with (0 none, 1 all)",
            markup=False,
        )
    if found.tokens:
        console.print("What is left of the inputs is not measured: numbers of tokens have no distances.")
    if found.own is not None:
        console.print(f"> the model's own cut: {found.own}", markup=False)


def _table(found: CutTable, shown: list[CutFigures], *, both: bool) -> tuple[list[str], list[list[str]]]:
    """Return headings and rows; the server's figures follow from the client's and the sum, and need a wide terminal."""
    headings = ["    cut", "crosses", "one sample", "client's FLOP", "share", "client's weights"]
    headings += ["server's FLOP", "server's weights"] if both else []
    headings += ["a\u00a0step", *(["left\u00a0of inputs"] if found.samples else [])]
    return headings, [_row(found, cut, both=both) for cut in shown]


def _row(found: CutTable, cut: CutFigures, *, both: bool) -> list[str]:
    from sglr.report.numbers import percent, short, size

    marks = (">" if cut.layer == found.own else " ") + ("*" if cut is found.cheapest else " ")
    marks += "o" if cut is found.most_private else " "
    step = found.link.seconds(cut, found.batch)
    return [
        f"{marks} {cut.layer}",
        _crossing(cut),
        size(cut.bytes),
        short(round(cut.client_flops)),
        percent(cut.share, 0),
        short(cut.client_weights),
        *([short(round(cut.server_flops)), short(cut.server_weights)] if both else []),
        f"{1000 * step:.0f} ms" if step < 10 else f"{step:.0f} s",
        *(["" if cut.leak is None else f"{cut.leak:.2f}"] if found.samples else []),
    ]


def _crossing(cut: CutFigures) -> str:
    first, *others = cut.crosses
    kind = "" if first.dtype == "float32" else f"\u00a0{first.dtype}"
    more = f"\u00a0+{len(others)}" if others else ""
    return f"{'×'.join(map(str, first.shape)) or '1'}{kind}{more}"


def _counted(found: CutTable) -> str:
    from sglr.report.numbers import short

    first = found.cuts[0]
    flops, weights = first.client_flops + first.server_flops, first.client_weights + first.server_weights
    number = len(found.cuts)
    places = f"{number} places to cut" if number != 1 else "one place to cut"
    return f"{places}, {short(round(flops))} FLOP forward, {short(weights)} weights"
