"""The protocol of an exporter: how a traced segment is written in one format, and run in that format's runtime."""

from __future__ import annotations

import io
import logging
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, ClassVar, Protocol

from torch import Tensor
from torch.export import ExportedProgram

from sglr.system.extras import optional

Runs = Callable[..., Tensor]
"""A segment in its format's runtime: outputs ``[b, ...]`` of inputs ``[b, ...]``, one or several in their order."""

INPUTS = "inputs"
"""The key of the metadata with the several inputs that a file takes."""

KEY = "sglr"
"""The name under which a file holds its metadata, as JSON."""


class Loadable(Protocol):
    """What a card tells of how files are loaded."""

    @property
    def most_batch(self) -> int | None:
        """Most samples of one call; None where there is no limit."""

    def loading(self, file: str, several: bool = False) -> str:
        """Return Python code that runs a file on ``inputs``, a NumPy array or a list of ``several``, without sglr."""


class Exporter(ABC):
    """One format.

    Attributes
    ----------
    suffix
        The end of its files' names.
    needs
        Packages that it imports.
    extra
        The extra of sglr that installs them; empty if it needs none.
    most_batch
        Most samples of one call; None where there is no limit.
    """

    suffix: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()
    extra: ClassVar[str] = ""
    most_batch: ClassVar[int | None] = None

    @abstractmethod
    def write(self, program: ExportedProgram, path: Path, metadata: str) -> None:
        """Write a traced segment, whose input's first dimension is the batch, with its metadata."""

    @abstractmethod
    def load(self, path: Path) -> Runs:
        """Return what the format's runtime makes of a file."""

    @abstractmethod
    def metadata(self, path: Path) -> str:
        """Return the metadata in a file."""

    @abstractmethod
    def loading(self, file: str, several: bool = False) -> str:
        """Return Python code that runs a file on ``inputs``, a NumPy array or a list of ``several``, without sglr."""


def require(exporter: Exporter, name: str) -> None:
    """Refuse a format whose packages, or the card's, are not installed.

    Raises
    ------
    UsageError
        If one can't be imported.
    """
    card = (("huggingface_hub", "export"),)
    for package, extra in (*card, *((package, exporter.extra) for package in exporter.needs)):
        with quietly():
            optional(package, extra, "format", name)


@contextmanager
def quietly() -> Iterator[None]:
    """Keep back what exporters print, log and warn of: it is about their own code, and errors are raised."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def one_line(error: BaseException, most: int = 300) -> str:
    """Return an error's kind and the beginning of what it says."""
    said = " ".join(str(error).split())
    return f"{type(error).__name__}: {said[:most]}{'…' if len(said) > most else ''}"


def first_output(outputs: Any) -> Tensor:
    """Return the only output of a runtime."""
    found: Tensor = outputs[0] if isinstance(outputs, list | tuple) else outputs
    return found
