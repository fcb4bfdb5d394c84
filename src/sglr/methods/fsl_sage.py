"""FSL-SAGE (arXiv 2505.23182): clients' heads imitate the server's gradients, and the server aligns them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from sglr.core.errors import UsageError
from sglr.core.method import Method
from sglr.core.server_protocol import Server, step_in_turn
from sglr.core.types import Downlink, Extent, HandOut, StepContext, Uplink

__all__ = ["FSLSage"]


@dataclass(frozen=True)
class FSLSage(Method):
    """Train clients by gradients that a head estimates; the server corrects the heads by what clients uploaded.

    Nair, Lin, Ju, Talebi, Bentley, Liu: *FSL-SAGE: Accelerating Federated Split Learning via Smashed Activation
    Gradient Estimation* (ICML 2025). Evidence grade A: read in the authors' code, and held against it: steps and
    alignments agree to rounding. Theirs has one alignment more, in the first epoch after the first upload. The first of
    every ``h`` batches is uploaded. The server keeps the newest ``memory`` samples of each client, M_i, and before
    every ``align_every``-th epoch but the first takes ``align_epochs`` steps of Adam with rate 0.001 on each client's
    head, which it sends down. Client segments are averaged at the end of each epoch; heads are not.

    Notes
    -----
    With a_i a client's head, its loss L_a,i = L(a_i(s_i)), L_i the loss of the server's segment on the same batch,
    g_s,i = ∂L_i / ∂w_s and J_i = ∂s_i / ∂w_c,i, one step is; the server's line is for one upload after another in every
    h-th step. The next line ends an epoch, and the last two align a head, with the losses of all of M_i and η_a Adam's:

        s_i = f(w_c,i, B_i)
        w_c,i ← w_c,i − η_c J_iᵀ ∂L_a,i / ∂s_i
        w_s ← w_s − η_s g_s,i
        w_c,i ← Σ_j δ_j w_c,j
        d_i = Σ_s∈M_i |∂L_a,i / ∂s − ∂L_i / ∂s|^2
        a_i ← a_i − η_a ∂d_i / ∂a_i
    """

    shares: ClassVar[bool] = True
    accumulates: ClassVar[bool] = False
    joint: ClassVar[bool] = False
    head: ClassVar[bool] = True
    trains_head: ClassVar[bool] = False

    h: int = field(default=5, metadata={"help": "steps between two uploads of a client; at most those of an epoch"})
    align_every: int = field(default=10, metadata={"help": "epochs between two alignments of the clients' heads"})
    align_epochs: int = field(default=100, metadata={"help": "steps of an alignment, each on all that is kept"})
    memory: int = field(default=1000, metadata={"help": "uploaded samples of each client that the server keeps"})

    def __post_init__(self) -> None:
        for name in ("h", "align_every", "align_epochs", "memory"):
            if getattr(self, name) < 1:
                raise UsageError(name, getattr(self, name), "is below 1", "give a number of 1 or more")

    def memory_bytes(self, extent: Extent) -> int:
        """Return what the uploads that are kept of all clients take, each sample with a label of 8 bytes."""
        return extent.clients * self.memory * (extent.values * extent.each + 8)

    def sends(self, step: int) -> bool:
        """Upload the first of every h batches."""
        return step % self.h == 0

    def check_steps(self, steps: int) -> None:
        """Refuse an h of which an epoch has less than one."""
        if self.h > steps:
            remedy = f"give at most {steps}, or a smaller --batch-size"
            raise UsageError("h", self.h, f"an epoch has only {steps} steps", remedy)

    def hand_out(self, server: Server, clients: tuple[int, ...], epoch: int) -> HandOut | None:
        """Align the heads of a round's clients every so many epochs, and send them."""
        return None if epoch % self.align_every else server.align_heads(clients, self.align_epochs)

    def exchange(self, server: Server, uplink: Uplink, context: StepContext) -> Downlink:
        """Take one server step per upload, and keep the uploads; clients get nothing."""
        step_in_turn(server, uplink, context)
        server.remember(uplink, self.memory)
        return Downlink(None)
