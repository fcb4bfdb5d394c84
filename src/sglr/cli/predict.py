"""``sglr predict`` and ``sglr evaluate``: ask a trained network about new data."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from sglr.cli.options import AsJson, Debug, OwnModel, OwnTask
from sglr.cli.predict_options import (
    BatchSize,
    Client,
    ClientOrEach,
    Data,
    DataDir,
    Head,
    HeadEntropy,
    IdColumn,
    OutFile,
    OutFolder,
    RunOrServer,
    Segment,
)
from sglr.cli.predict_split import (
    DataOption,
    Device,
    Folder,
    FromRun,
    RequireDefence,
    SplitFlags,
    Timeout,
    Token,
    connected,
    is_address,
)
from sglr.core.errors import UsageError
from sglr.system.extras import require

if TYPE_CHECKING:
    from sglr.inference.network import TrainedNetwork, Whose
    from sglr.inference.predictions import Predictions
    from sglr.sites.site_network import SiteNetwork


def predict(
    ctx: typer.Context,
    run: RunOrServer,
    data: Data = None,
    out: OutFile = None,
    client: Client = None,
    segment: Segment = None,
    head: Head = False,
    head_entropy: HeadEntropy = None,
    batch_size: BatchSize = None,
    id_column: IdColumn = "",
    data_dir: DataDir = None,
    model: OwnModel = None,
    task: OwnTask = None,
    data_option: DataOption = None,
    token: Token = None,
    folder: Folder = None,
    from_run: FromRun = None,
    timeout: Timeout = 30.0,
    require_defence: RequireDefence = "none",
    device: Device = "auto",
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Predict with a trained run: classes with probabilities, values, masks or tokens.

    Data need no targets. What was written into the run's folder tells how they become inputs.

    With HOST:PORT of a server (sglr serve RUN --predict) in place of RUN, the client's layers are run here and the
    server's there: smashed data go to the server, and your data stay here.
    """
    del debug
    from sglr.inference.predictions import check_columns, check_ending
    from sglr.inference.predictions import predict as ask

    data = data or data_option
    if data is None:
        raise UsageError("DATA", "none", "no data to predict for", "give a path, such as new.csv")
    if client == "each":
        raise UsageError("client", client, "a prediction is one answer", "give a client's number, shared or average")
    if out is not None:
        check_ending(out)
    if out is None or as_json:
        require("data", "predictions", "a table", "pandas")
    flags = SplitFlags(token, folder, from_run, timeout, require_defence, device)
    shown = out is None and (as_json or sys.stdout.isatty())
    found = ask(
        _asked(run, flags, client, segment, model, task, head=head, head_entropy=head_entropy),
        data,
        batch_size,
        check=lambda first: None if shown else check_columns(first, out),
        id_column=id_column,
        data_dir=data_dir,
        **ctx.obj,
    )
    _tell(found.notes)
    if out is not None:
        found.write(out)
    if as_json:
        print(found.to_frame().to_json(orient="records", indent=2, double_precision=9))
    elif out is None:
        _print_predictions(found)
    else:
        print(f"{len(found):,} predictions ({found.whose}): {out}")


def _asked(
    place: str,
    flags: SplitFlags,
    client: str | None,
    segment: Path | None,
    model: str | None,
    task: str | None,
    *,
    head: bool,
    head_entropy: float | None,
) -> TrainedNetwork | SiteNetwork:
    """Return what predicts: a run's network, or one between this site and a server."""
    if head and head_entropy is not None:
        raise UsageError("head_entropy", head_entropy, "heads answer for all samples (head)", "leave out one of them")
    network: TrainedNetwork | SiteNetwork
    if is_address(place):
        if head_entropy is not None and not head_entropy >= 0:
            raise UsageError("head_entropy", head_entropy, "is no entropy", "give 0 or more, such as 0.2")
        network = connected(place, flags, client, segment, model, task)
    else:
        flags.refuse()
        network = _network(Path(place), client, model, task, segment)
    return network.alone() if head else network if head_entropy is None else network.early_exit(head_entropy)


def evaluate(
    ctx: typer.Context,
    run: RunOrServer,
    data: Data = None,
    out: OutFolder = None,
    client: ClientOrEach = None,
    segment: Segment = None,
    head: Head = False,
    head_entropy: HeadEntropy = None,
    batch_size: BatchSize = None,
    data_dir: DataDir = None,
    model: OwnModel = None,
    task: OwnTask = None,
    data_option: DataOption = None,
    token: Token = None,
    folder: Folder = None,
    from_run: FromRun = None,
    timeout: Timeout = 30.0,
    require_defence: RequireDefence = "none",
    device: Device = "auto",
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Score a trained run on data with targets: the task's metrics with 95 % intervals, and the report's pictures.

    Without DATA, on the run's own test samples.

    With HOST:PORT of a server (sglr serve RUN --predict) in place of RUN, the client's layers are run here and the
    server's there: smashed data go to the server, and your data with their targets stay here.
    """
    del debug
    from sglr.inference.evaluate import evaluate as score

    if out is not None and out.exists() and not out.is_dir():
        raise UsageError("out", out, "is a file", "give the name of a folder")
    data = data or data_option
    if data is None and is_address(run):
        problem = "the run's test samples are not at this site"
        raise UsageError("DATA", "none", problem, "give data with targets, such as new.csv")
    flags = SplitFlags(token, folder, from_run, timeout, require_defence, device)
    network = _asked(run, flags, client, segment, model, task, head=head, head_entropy=head_entropy)
    found = score(network, data, batch_size, data_dir=data_dir, **ctx.obj)
    _tell(found["notes"])
    if out is not None:
        from sglr.report.evaluation import write_evaluation

        write_evaluation(out, found)
    print(json.dumps(found, indent=2)) if as_json else _print_evaluation(found, out)


def _network(
    run: Path, client: str | None, model: str | None, task: str | None, segment: Path | None
) -> TrainedNetwork:
    from sglr.inference.network import trained_network

    return trained_network(run, read_client(client), model=model, task=task, segment=segment)


def read_client(client: str | None) -> Whose | None:
    """Return whose lower layers a flag names.

    Raises
    ------
    UsageError
        If it is neither a number nor a word that is known.
    """
    if client is None or client in ("shared", "average", "each"):
        return client  # type: ignore[return-value]
    try:
        return int(client)
    except ValueError:
        remedy = "give a client's number from 0, shared or average"
        raise UsageError("client", client, "is no client", remedy) from None


def _tell(notes: Sequence[str]) -> None:
    for note in notes:
        print(f"note: {note}", file=sys.stderr)


def _print_predictions(found: Predictions) -> None:
    """Print a table for people, or lines of a .csv where a program reads them."""
    frame = found.to_frame()[["id", *found.flat]]
    if not sys.stdout.isatty():
        frame.to_csv(sys.stdout, index=False)
        return
    from rich.console import Console

    from sglr.cli.screens import table

    shown = frame.head(20)
    rows = [[_cell(value) for value in row] for row in shown.itertuples(index=False)]
    console = Console(highlight=False)
    console.print(table(list(frame.columns), rows, named=2))
    more = f"{len(frame) - len(shown):,} more; " if len(frame) > len(shown) else ""
    console.print(f"{len(frame):,} predictions ({found.whose}); {more}--out FILE writes them", markup=False)
    hidden = [name for name in found.columns if name not in found.flat]
    if hidden:
        console.print(f"not shown: {', '.join(hidden)}, of which each sample has several values", markup=False)


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _print_evaluation(found: Mapping[str, Any], out: Path | None) -> None:
    from rich.console import Console

    from sglr.cli.screens import facts
    from sglr.report.numbers import NONE
    from sglr.report.score_style import headline, style, test_score

    main = headline(found)
    rows = {"data": f"{found['data']} ({found['samples']:,})", "lower layers": str(found["client"])}
    for name in found["scores"]:
        kind = main if name == main.name else style(name, unit=main.unit)
        score = test_score(found, name)
        interval = kind.interval(score["low"], score["high"])
        rows[kind.title] = f"{kind.write(score['mean'])}{f' (95 %: {interval})' if interval else ''}"
    rows["loss"] = NONE if found["loss"] is None else f"{found['loss']:.4g}"
    console = Console(highlight=False)
    console.print(facts(f"{found['run']}", rows))
    if out is not None:
        console.print(f"report  {out / 'evaluation.html'}", soft_wrap=True, markup=False)
