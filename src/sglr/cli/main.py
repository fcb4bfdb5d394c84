"""``sglr``: the root of the command line, its exit codes, and how it prints errors."""

from __future__ import annotations

import errno
import logging
import shlex
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from sglr.cli.compare import compare
from sglr.cli.cuts import cuts
from sglr.cli.doctor import doctor
from sglr.cli.export import export
from sglr.cli.join import join
from sglr.cli.leak import leak
from sglr.cli.list import list_parts
from sglr.cli.plan import plan
from sglr.cli.predict import evaluate, predict
from sglr.cli.reading import JoinCommand, PredictCommand, SchemaCommand
from sglr.cli.report import report
from sglr.cli.reproduce import reproduce
from sglr.cli.resume import resume
from sglr.cli.schema import schema
from sglr.cli.serve import serve
from sglr.cli.serve_page import ServeCommand
from sglr.cli.settings import SettingsCommand, epilog
from sglr.cli.show import show
from sglr.cli.status import status
from sglr.cli.streams import give_up_output
from sglr.cli.sweep import sweep
from sglr.cli.token import revoke, token
from sglr.cli.train import train
from sglr.cli.watch import watch
from sglr.core.errors import Interrupted, SglrError, UsageError, printable
from sglr.version import __version__

DONE, FAILED, MISUSED = 0, 1, 2
"""Exit codes: done; anything else; bad usage or configuration."""

app = typer.Typer(
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=epilog(
        "sglr train --epochs 5",
        "sglr compare --methods psl,sfl,sglr --seeds 0,1 --out first",
        "sglr list methods",
    ),
)
app.command(
    "train",
    cls=SettingsCommand,
    epilog=epilog(
        "sglr train --clients 20 --epochs 5",
        "sglr train --method sglr --alpha 0.5 --phi 1 --average class --partition dirichlet --concentration 0.3",
        "sglr train --config experiment.toml --seed 1 --out runs/second --json",
    ),
)(train)
app.command(
    "compare",
    cls=SettingsCommand,
    epilog=epilog(
        "sglr compare --methods psl,sfl,sglr --seeds 0,1,2 --epochs 10 --out comparison",
        "sglr compare --methods psl --methods sglr:phi=0.5,alpha=1 --methods sglr:phi=1,average=class",
        "sglr compare --methods all --alpha 0.5 --clients 20 --json",
    ),
)(compare)
app.command(
    "sweep",
    cls=SettingsCommand,
    epilog=epilog(
        "sglr sweep grid.toml --out runs/rates",
        "sglr sweep grid.toml --epochs 1 --dry-run",
        "sglr sweep grid.toml --jobs 4 --json",
    ),
)(sweep)
app.command(
    "reproduce",
    epilog=epilog(
        "sglr reproduce table6",
        "sglr reproduce table1 table2 --scale small --out paper",
        "sglr reproduce all --scale smoke",
    ),
)(reproduce)
app.command(
    "plan",
    epilog=epilog(
        "sglr plan --clients 100 --samples 50000 --phi 0.5 --cut-mb 0.024 --model-mb 200 --client-mb 67",
        "sglr plan --model resnet16 --dataset fashion-mnist --clients 20 --rate 20Mbps --energy-profile edge-wifi",
        "sglr plan --model my_model:make --cut 3 --input-shape 1,28,28 --classes 10 --samples 20000 --json",
    ),
)(plan)
app.command(
    "cuts",
    cls=SettingsCommand,
    epilog=epilog(
        "sglr cuts resnet16 --dataset fashion-mnist",
        "sglr cuts torchvision:resnet18 --input-shape 3,64,64 --rate 20Mbit/s --rtt 50ms --depth 0",
        "sglr cuts my_model:make --dataset folder:pictures --image-size 64 --json",
    ),
)(cuts)
app.command("resume", epilog=epilog("sglr resume runs/second"))(resume)
app.command("show", epilog=epilog("sglr show runs/second", "sglr show comparison --json"))(show)
app.command(
    "predict",
    cls=PredictCommand,
    epilog=epilog(
        "sglr predict runs/second new.csv --out predictions.parquet",
        "sglr predict runs/second pictures --client 3",
        "sglr predict runs/second digits --json",
        "sglr predict server.example.org:7443 --folder sites/hospital --data new.csv --out predictions.parquet",
    ),
)(predict)
app.command(
    "evaluate",
    cls=PredictCommand,
    epilog=epilog(
        "sglr evaluate runs/second",
        "sglr evaluate runs/second new.csv --out evaluation",
        "sglr evaluate runs/second table:new.csv --separator ';' --client each --json",
    ),
)(evaluate)
app.command(
    "export",
    epilog=epilog(
        "sglr export runs/second",
        "sglr export runs/second --format executorch --segment client --client 3 --out phone",
        "sglr export runs/second --data new.csv --push-to-hub hospital/wounds",
    ),
)(export)
app.command(
    "report",
    epilog=epilog(
        "sglr report runs/second",
        "sglr report runs/first runs/second --out both.html",
        "sglr report comparison",
    ),
)(report)
app.command(
    "leak",
    epilog=epilog(
        "sglr leak runs/second",
        "sglr leak runs/second --clients 1 --measures none --attack unsplit --attack decoder:steps=500",
        "sglr leak runs/psl runs/sglr --out leakage",
    ),
)(leak)
app.command(
    "serve",
    cls=ServeCommand,
    epilog=epilog(
        "sglr serve run.toml --listen 0.0.0.0:7443 --out runs/sites",
        "sglr serve --dataset sites --input-shape 1,28,28 --classes 10 --clients 3 --out runs/sites",
        "sglr serve --schema schema.toml --model mlp --clients 3 --out runs/tables",
        "sglr serve run.toml --out runs/sites --min-clients 2 --step-deadline 30 --prometheus 127.0.0.1:9743",
        "sglr serve runs/sites --predict --listen 0.0.0.0:7443",
        "sglr serve run.toml --out runs/sites --page",
    ),
)(serve)
app.command(
    "join",
    cls=JoinCommand,
    epilog=epilog(
        "sglr join server.example.org:7443 --token sglr1-… --data pictures",
        "sglr join server.example.org:7443 --token sglr1-… --data patients.csv --separator ';' --check",
        "sglr join server.example.org:7443 --token sglr1-… --dataset fashion-mnist --partition 3/5 --out sites/third",
    ),
)(join)
app.command(
    "doctor",
    epilog=epilog(
        "sglr doctor server.example.org:7443",
        "sglr doctor server.example.org:7443 --token sglr1-…",
        "sglr doctor server.example.org:7443 --folder sites/hospital",
    ),
)(doctor)
app.command(
    "status",
    epilog=epilog("sglr status runs/sites", "sglr status server.example.org:7443 --folder sites/hospital --watch"),
)(status)
app.command(
    "watch",
    epilog=epilog(
        "sglr watch runs/second --open",
        "sglr watch runs/digits",
        "sglr watch server.example.org:7443 --folder sites/hospital",
    ),
)(watch)
app.command("token", epilog=epilog("sglr token runs/sites --client 3"))(token)
app.command("revoke", epilog=epilog("sglr revoke runs/sites --client 3"))(revoke)
app.command(
    "schema",
    cls=SchemaCommand,
    epilog=epilog(
        "sglr schema patients.csv --label-column outcome > schema.toml",
        "sglr schema patients.csv --label-column outcome --na NA --missing mean --leave-out patient_id",
    ),
)(schema)
app.command("list", epilog=epilog("sglr list methods", "sglr list partitioners --verbose"))(list_parts)


@app.command()
def version() -> None:
    """Print the version of sglr."""
    print(f"sglr {__version__}")


def _print_version(wanted: bool) -> None:
    if wanted:
        version()
        raise typer.Exit


@app.callback()
def root(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Scalable split learning: train one network over data that may not leave its owner."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments
        The arguments after ``sglr``; None takes those of the process.

    Returns
    -------
    int
        The exit code: 0 done, 2 bad usage or configuration, 1 anything else.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    debug = "--debug" in arguments
    _tell_warnings("--quiet" in arguments)
    try:
        _refuse_bytes(arguments)
        code = app(arguments, prog_name="sglr", standalone_mode=False, obj=shlex.join(["sglr", *arguments]))
        if sys.stdout is not None:  # as it is where it was closed
            sys.stdout.flush()
    except BrokenPipeError:
        give_up_output()
        return FAILED
    except (Exception, KeyboardInterrupt) as error:
        give_up_output()
        if debug:
            traceback.print_exc()
        return _explain(error, _log if "--log-json" in arguments else _print)
    return code if isinstance(code, int) else DONE


def _refuse_bytes(arguments: Sequence[str]) -> None:
    """Refuse arguments that are no text, such as a file name of Latin-1 bytes: settings are kept in files of UTF-8."""
    for before, argument in zip(["an argument", *arguments], arguments, strict=False):
        try:
            argument.encode()
        except UnicodeEncodeError:
            field = before.removeprefix("--") if before.startswith("--") else "an argument"
            raise UsageError(field, printable(argument), "isn't UTF-8", "rename the file or folder") from None


def _explain(error: BaseException, write: Callable[[str], None]) -> int:
    """Print in one line what went wrong, and return the exit code."""
    line, code = _told(error)
    if line:
        write(_one_line(line))
    return code


def _one_line(text: str) -> str:
    """Return a text as one line without control characters: it may quote an untrusted file."""
    return printable(" ".join(text.split()))


def _told(error: BaseException) -> tuple[str, int]:
    match error:
        case KeyboardInterrupt():
            return "stopped at once, without a checkpoint", FAILED
        case Interrupted():
            return str(error), FAILED
        case SglrError():
            return f"error: {error}", MISUSED if isinstance(error, UsageError) else FAILED
        case typer.TyperException():
            return f"error: {error.format_message()}", MISUSED
        case typer.Abort():
            return "", FAILED
        case OSError() if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return f"error: {error.filename or 'the output'} can't be written ({error.strerror}); free some", FAILED
        case Exception() if _is_want_of_memory(error):
            remedy = "end other programs or give smaller settings; files written before are intact"
            return f"error: out of memory ({error}); {remedy}", FAILED
    return f"error: {type(error).__name__}: {error}; run again with --debug to see where", FAILED


def _is_want_of_memory(error: Exception) -> bool:
    """Return whether memory ran out: torch then raises a RuntimeError, a library that can't be loaded another error.

    Python's own functions may fail without an exception: the interpreter then raises a SystemError without a cause.
    """
    told: tuple[str, ...] = (
        "can't allocate memory",
        "out of memory",
        "Cannot allocate memory",
        "failed to map segment",
    )
    told += ("returned NULL without setting an exception",) if isinstance(error, SystemError) else ()
    return isinstance(error, MemoryError) or any(text in str(error) for text in told)


def _print(line: str) -> None:
    print(line, file=sys.stderr)


def _log(line: str) -> None:
    """Log the error, if logs are JSON."""
    from sglr.cli.logs import log_json

    log_json()
    logging.getLogger("sglr").error(line, extra={"event": "ended"})


class _Warnings(logging.Handler):
    """Print warnings as plain lines to the current standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        print(f"warning: {_one_line(record.getMessage())}", file=sys.stderr)


def _tell_warnings(quiet: bool) -> None:
    logger = logging.getLogger("sglr")
    logger.handlers = [_Warnings(logging.ERROR if quiet else logging.WARNING)]
    logger.propagate = False
