"""``sglr export``: write a trained network as files that run without sglr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sglr.cli.options import AsJson, Debug, OwnModel, OwnTask, Quiet, RunFolder
from sglr.cli.predict import read_client
from sglr.cli.predict_options import Client

if TYPE_CHECKING:
    from sglr.exporting.export import Export

PANEL = "What to export"
HUB = "Hugging Face hub"

Format = Annotated[
    str,
    typer.Option("--format", metavar="onnx|torch|executorch", help="Format of the files.", rich_help_panel=PANEL),
]
Adapters = Annotated[
    bool,
    typer.Option(
        "--adapters",
        help="Write the adapters of a run with --lora alone, as peft does, without the frozen network.",
        rich_help_panel=PANEL,
    ),
]
Segment = Annotated[
    str,
    typer.Option(
        "--segment",
        metavar="all|client|server|tail|joined",
        help="Which parts of the network; of several clients each one's layers are a file.",
        rich_help_panel=PANEL,
    ),
]
Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="<data>",
        help="Check the files on these data too, besides made-up inputs.",
        show_default=False,
        rich_help_panel=PANEL,
    ),
]
SegmentFile = Annotated[
    Path | None,
    typer.Option(
        "--segment-file",
        metavar="<file>",
        help="segment.safetensors of the client's own folder, where it trained on a machine of its own.",
        show_default=False,
        rich_help_panel=PANEL,
    ),
]
OutFolder = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="<folder>",
        help="Write into this new folder; default: export-FORMAT in the run's.",
        show_default=False,
        rich_help_panel="Output",
    ),
]
Push = Annotated[
    str | None,
    typer.Option(
        "--push-to-hub",
        metavar="<owner/name>",
        help="Push the folder to this repository, with the model card.",
        show_default=False,
        rich_help_panel=HUB,
    ),
]
Private = Annotated[
    bool,
    typer.Option("--private/--public", help="How a repository is made that is not there yet.", rich_help_panel=HUB),
]


def export(
    run: RunFolder,
    form: Format = "onnx",
    adapters: Adapters = False,
    segment: Segment = "all",
    client: Client = None,
    data: Data = None,
    segment_file: SegmentFile = None,
    model: OwnModel = None,
    task: OwnTask = None,
    out: OutFolder = None,
    push_to_hub: Push = None,
    private: Private = True,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write a trained network as files that run without sglr: ONNX, torch.export or ExecuTorch, with a model card.

    Each part is a file: a client's layers, the server's, a tail, and all joined. Each is run in its format's own
    runtime and compared with the original. How data become inputs is in the files' metadata.
    """
    del debug
    say = _say if sys.stderr.isatty() and not quiet else None
    if adapters:
        _refuse_beside_adapters(form, segment, push_to_hub)
        from sglr.exporting.adapters import export_adapters

        whose = read_client(client)
        given: dict[str, Any] = {"model": model, "task": task, "segment_file": segment_file}
        done = export_adapters(run, out, client=whose, data=data, say=say, **given)
    else:
        done = _write(run, out, form, segment, client, data, segment_file, model, task, push_to_hub, private, say)
    if as_json:
        print(json.dumps(done.told() | {"path": str(done.path), "hub": done.hub}, indent=2))
    else:
        _print(done)


def _write(
    run: Path,
    out: Path | None,
    form: str,
    segment: str,
    client: str | None,
    data: str | None,
    segment_file: Path | None,
    model: str | None,
    task: str | None,
    push_to_hub: str | None,
    private: bool,
    say: Callable[[str], None] | None,
) -> Export:
    from sglr.exporting.export import export as write

    return write(
        run,
        out,
        format=form,
        client=read_client(client),
        segment=segment,
        data=data,
        model=model,
        task=task,
        segment_file=segment_file,
        push_to_hub=push_to_hub,
        private=private,
        say=say,
    )


def _refuse_beside_adapters(form: str, segment: str, push_to_hub: str | None) -> None:
    """Refuse options that have no effect on adapters."""
    from sglr.core.errors import UsageError

    for name, value, default in (
        ("format", form, "onnx"),
        ("segment", segment, "all"),
        ("push_to_hub", push_to_hub, None),
    ):
        if value != default:
            raise UsageError(name, value, "--adapters writes peft's own files, of the whole network", "leave it out")


def _taken(metadata: dict[str, Any]) -> str:
    several = metadata.get("inputs")
    if not several:
        return _described(metadata["input"])
    return f"data {', '.join(' '.join([each['name'], 'x'.join(map(str, each['shape'])) or '1']) for each in several)}"


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def _print(done: Export) -> None:
    from rich.console import Console

    from sglr.cli.screens import table
    from sglr.report import numbers

    console = Console(highlight=False)
    rows = [
        (
            file.name,
            _taken(file.metadata),
            _described(file.metadata["output"]),
            numbers.size(file.bytes),
            f"{file.compared.difference:.1e}",
        )
        for file in done.files
    ]
    shown = table(("file", "takes", "gives", "size", "difference"), rows)
    shown.columns[0].no_wrap = True
    for column in shown.columns[1:3]:  # a long shape is folded before a file's name is cut
        column.no_wrap = False
    console.print(shown)
    samples = max(file.compared.samples for file in done.files)
    checked = f"largest difference from the original {done.largest_difference:.1e}, on {samples} samples"
    console.print(f"checked {checked} (lower layers: {done.whose})", markup=False, soft_wrap=True)
    console.print(f"card    {done.path / 'MODEL.md'}", markup=False, soft_wrap=True)
    if done.hub is not None:
        console.print(f"pushed  {done.hub}", markup=False, soft_wrap=True)


def _described(values: dict[str, object]) -> str:
    shape = values["shape"]
    assert isinstance(shape, list)
    return f"{values['what']} {' x '.join(map(str, shape[1:]))}".strip()
