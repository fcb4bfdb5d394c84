"""TensorBoard: event files that `tensorboard --logdir` shows."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, ClassVar, Literal

from sglr.runs.folder import Run
from sglr.runs.tracker import Tracker, figures, settings_told, summary_figures, title

__all__ = ["TensorBoard"]

UNSAFE = re.compile(r"[^\w .,()=+-]+")
"""What a folder's name is not to have: a run's name is free text."""


@dataclass
class TensorBoard(Tracker):
    """Write event files into the run's folder, or into a folder of its own in ``dir``."""

    package: ClassVar[str] = "tensorboard"

    dir: Path | None = field(default=None, metadata={"help": "folder for the runs' folders; default: the run's own"})
    _writer: Any = field(default=None, init=False, repr=False)

    def begin(self, run: Run, known: str | None) -> str:
        """Open the event files, and write the settings as a text if they are new."""
        from torch.utils.tensorboard import SummaryWriter

        folder = Path(known) if known and self.dir else self._folder(run)
        self._writer = SummaryWriter(str(folder))
        if not known:
            told = json.dumps(settings_told(run), indent=2)
            self._writer.add_text("settings", "\n".join(f"    {line}" for line in told.splitlines()))
        self._writer.flush()
        return str(folder.resolve())

    def log(self, record: Mapping[str, Any]) -> None:
        """Write the figures as scalars; the step is the epoch."""
        for name, value in figures(record).items():
            self._writer.add_scalar(name, value, record["epoch"])
        self._writer.flush()

    def finish(self, run: Run) -> None:
        """Write the summary's figures at the last epoch."""
        for name, value in summary_figures(run).items():
            self._writer.add_scalar(name, value, len(run.history))

    def close(self, outcome: Literal["done", "stopped", "failed"]) -> None:
        """Close the event files."""
        del outcome
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def _folder(self, run: Run) -> Path:
        """Return the run's folder for event files; in ``dir`` one that no other run has, also of those beside it."""
        if self.dir is None:
            return run.path / "tensorboard"
        name = UNSAFE.sub("-", title(run)).strip("-.") or "run"
        for number in count(1):
            folder = self.dir / (name if number == 1 else f"{name}-{number}")
            with suppress(FileExistsError):
                folder.mkdir(parents=True)
                break
        return folder
