"""A client's session with the server, which a client that leaves on purpose saves, to come back without a loss."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch

from sglr.core.errors import DamagedCheckpoint
from sglr.core.weights import below
from sglr.engines.remote.client.own_batches import ToldBatch
from sglr.engines.remote.client.trainer import LocalTrainer
from sglr.storage.checkpoint import read_checkpoint, write_checkpoint


@dataclass
class Session:
    """A client's session with the server.

    Parameters
    ----------
    id
        Its number; 0 if there is none.
    done
        The number of the last request that was carried out.
    answers
        The last answers, by the requests' numbers, in case they did not arrive.
    """

    id: int = 0
    done: int = 0
    answers: dict[int, bytes] = field(default_factory=dict)

    def begin(self, number: int) -> None:
        """Begin a session."""
        self.id, self.done = number, 0
        self.answers.clear()

    def keep(self, seq: int, answer: bytes | None, most: int) -> None:
        """Note that a request was carried out, and its answer; of earlier answers, the last stay."""
        self.done = seq
        if answer is not None:
            self.answers[seq] = answer
        for old in sorted(self.answers)[:-most]:
            del self.answers[old]

    def write(self, path: Path, trainer: LocalTrainer) -> None:
        """Write it with the trainer's state, for a process that takes over later.

        Passes whose gradients have not come are noted and dropped: they give the same again.
        """
        passes, answered, batch = trainer.passes(), trainer.answered, trainer.batches.told
        trainer.drop_passes()
        tensors = {f"worker.{name}": tensor for name, tensor in trainer.state().items()}
        for seq, answer in self.answers.items():
            tensors[f"answer.{seq}"] = torch.frombuffer(bytearray(answer), dtype=torch.uint8)
        if answered is not None:
            tensors["features"] = answered
        # Later messages of an evaluation lean on those that came with its first.
        tensors |= {f"shared.{name}": tensor for name, tensor in trainer.held_out.shared.items()}
        # Sessions have more digits than a JSON number keeps.
        write_checkpoint(path, tensors, {"session": str(self.id), "done": self.done, "passes": passes, "batch": batch})

    @classmethod
    def take_over(cls, path: Path, trainer: LocalTrainer) -> Session | None:
        """Take up what was written, once: the file is gone then, because every further request makes it old."""
        try:
            tensors, state = read_checkpoint(path)
        except DamagedCheckpoint:
            path.unlink(missing_ok=True)
            return None
        path.unlink()
        trainer.restore(below("worker.", tensors))
        if state.get("batch"):
            trainer.batches.tell(ToldBatch(*state["batch"]))
        for epoch, step in state["passes"]:
            trainer.forward(epoch, step)
        if "features" in tensors:
            trainer.answer(tensors["features"])
        if shared := below("shared.", tensors):
            trainer.held_out.take_shared(shared)
        answers = {int(seq): answer.numpy().tobytes() for seq, answer in below("answer.", tensors).items()}
        return cls(int(state["session"]), int(state["done"]), answers)
