"""A client's snapshots: its state on its own disk, at the steps at which the server has checkpoints."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from torch import Tensor

from sglr.core.errors import DamagedCheckpoint, NotRead
from sglr.storage.checkpoint import digest, read_checkpoint, write_checkpoint
from sglr.storage.files import files_in, read_if_there, sweep_partials, write_text

BEST = "best"
"""The file that says of which step the best snapshot is."""

_NAME = re.compile(r"step-(\d+)\.safetensors")


class Snapshots:
    """The snapshots in a folder.

    Parameters
    ----------
    folder
        Where they lie; made if it is not there.
    run
        Which run they are of; those of another are not taken up.
    keep
        How many of the newest stay, beside the best one.
    """

    def __init__(self, folder: Path, run: str, keep: int) -> None:
        self.folder, self.run, self.keep = folder, run, keep
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        sweep_partials(folder)

    def _path(self, step: int) -> Path:
        return self.folder / f"step-{step:09d}.safetensors"

    def steps(self) -> list[int]:
        """Return the steps of all snapshots, ascending, whole or not."""
        found = (_NAME.fullmatch(path.name) for path in files_in(self.folder, "step-*"))
        return sorted(int(match[1]) for match in found if match)

    def write(self, step: int, tensors: dict[str, Tensor], *, best: bool) -> str:
        """Write a snapshot, drop old ones, and return the SHA-256 of its tensors.

        Raises
        ------
        OSError
            If it can't be written; the others stay.
        """
        write_checkpoint(self._path(step), tensors, {"run": self.run, "step": step})
        if best:
            write_text(self.folder / BEST, str(step))
        with suppress(NotRead):  # another time
            self._drop_old(step, self._best())
        return digest(tensors)

    def _drop_old(self, step: int, best: int | None) -> None:
        # Later steps will be taken again: all went back to a checkpoint before them.
        later = [other for other in self.steps() if other > step]
        earlier = [other for other in self.steps() if other <= step]
        for other in (*earlier[: -self.keep], *later):
            if other != best:
                self._path(other).unlink(missing_ok=True)

    def _best(self) -> int | None:
        try:
            return int(read_if_there(self.folder / BEST) or b"")
        except ValueError:
            return None

    def read(self, step: int, wanted: str = "") -> dict[str, Tensor]:
        """Return the tensors of a snapshot whose SHA-256 is ``wanted``, if one is.

        Raises
        ------
        DamagedCheckpoint
            If there is none, it is torn, of another run, or another than is wanted.
        NotRead
            If there is one that can't be read.
        """
        tensors, state = read_checkpoint(self._path(step))
        if state.get("run") != self.run:
            raise DamagedCheckpoint(f"the snapshot of step {step} is of another run")
        if wanted and digest(tensors) != wanted:
            raise DamagedCheckpoint(f"the snapshot of step {step} differs from the server's record")
        return tensors

    def newest(self) -> dict[str, Tensor] | None:
        """Return the tensors of the newest snapshot that is whole; None if there is none.

        Raises
        ------
        NotRead
            If it can't be read whether it is whole.
        """
        for step in reversed(self.steps()):
            try:
                return self.read(step)
            except DamagedCheckpoint:
                continue
        return None
